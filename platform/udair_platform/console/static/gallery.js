// The pictures of a version: what is on either side, and one zoom and place for all of them.
const gallery = document.querySelector(".gallery");
if (gallery) {
  const words = { camera: "camera", source: "source model", adapted: "this version", previous: "served before" };
  for (const choice of document.querySelectorAll("[data-side]"))
    choice.addEventListener("change", () => {
      for (const figure of gallery.querySelectorAll("figure")) {
        const files = JSON.parse(figure.dataset.files);
        const image = figure.querySelector(`[slot=${choice.dataset.side}]`);
        image.src = gallery.dataset.base + (files[choice.value] || files.source);
        image.alt = `${figure.querySelector("figcaption").firstChild.textContent.trim()}, ${words[choice.value]}`;
      }
    });

  let [zoom, x, y] = [1, 0, 0];
  const place = () => {
    const most = (50 * (zoom - 1)) / zoom;
    [x, y] = [x, y].map((value) => Math.max(-most, Math.min(most, value)));
    gallery.style.setProperty("--zoom", zoom);
    gallery.style.setProperty("--x", `${x}%`);
    gallery.style.setProperty("--y", `${y}%`);
  };
  const range = document.querySelector("[data-zoom]");
  range.addEventListener("input", () => { zoom = Number(range.value); place(); });
  gallery.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    range.value = zoom = Math.max(1, Math.min(6, zoom * (event.deltaY < 0 ? 1.15 : 0.87)));
    place();
  }, { passive: false });
  gallery.addEventListener("pointermove", (event) => {
    if (zoom === 1 || !event.shiftKey) return;
    const box = event.target.getBoundingClientRect();
    x += (100 * event.movementX) / box.width;
    y += (100 * event.movementY) / box.height;
    place();
  });
  gallery.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0, 4], ArrowDown: [0, -4] }[event.key];
    if (!step || zoom === 1) return;
    event.preventDefault();
    x += step[0]; y += step[1];
    place();
  });
}
