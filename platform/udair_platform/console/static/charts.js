// Draws [data-chart] with uPlot; the same figures stand in a table beside it.
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const drawn = [];

function options(told, width) {
  const strokes = [style("--accent"), style("--second")];
  const days = told.time && told.x.at(-1) - told.x[0] > 172800;
  const when = (seconds) => (days
    ? new Date(seconds * 1000).toLocaleDateString(undefined, { day: "numeric", month: "short" })
    : new Date(seconds * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hour12: false }));
  const axis = { stroke: style("--soft"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 } };
  const bars = told.kind === "bars";
  return {
    width, height: 220, scales: { x: { time: told.time, ...(bars && { range: (_, low, high) => [low - 0.8, high + 0.8] }) } }, legend: { live: false }, cursor: { show: !bars },
    axes: [
      { ...axis, ...(told.time && { values: (_, values) => values.map(when) }) },
      { ...axis, size: 64, values: (_, values) => values.map((v) => `${+v.toFixed(4)}${told.unit === "%" ? " %" : ""}`) },
    ],
    series: [{}, ...told.series.map((one, at) => ({
      label: one.label + (told.unit === "%" ? "" : `, ${told.unit}`), stroke: strokes[at], width: bars ? 1 : 2,
      fill: bars ? strokes[at] + (at ? "55" : "aa") : undefined,
      dash: !bars && at ? [6, 4] : undefined,
      paths: bars ? uPlot.paths.bars({ size: [at ? 0.9 : 0.55, 60] }) : undefined,
      points: { show: !bars },
    }))],
  };
}

function draw(place) {
  const told = JSON.parse(place.dataset.chart);
  const chart = new uPlot(options(told, place.clientWidth - 20), [told.x, ...told.series.map((one) => one.values)], place);
  drawn.push({ place, chart });
}

function drawAll() {
  for (const { chart } of drawn.splice(0)) chart.destroy();
  document.querySelectorAll("[data-chart]").forEach(draw);
}
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
addEventListener("resize", () => drawn.forEach(({ place, chart }) => chart.setSize({ width: place.clientWidth - 20, height: 220 })));

// While the page is open, what the replicas report is drawn as it comes.
const pace = document.querySelector("[data-pace-chart]");
if (pace) {
  const seen = { time: [], rate: [] };
  document.addEventListener("refreshed", () => {
    const now = JSON.parse(document.querySelector("[data-pace]").dataset.pace);
    if (!now.time || now.time === seen.time.at(-1)) return;
    seen.time.push(now.time);
    seen.rate.push(now.images_per_s);
    if (seen.time.length < 2) return;
    pace.hidden = false;
    pace.dataset.chart = JSON.stringify({ kind: "lines", x: seen.time, time: true, unit: "/s", series: [{ label: "images a second", values: seen.rate }] });
    drawAll();
  });
}
