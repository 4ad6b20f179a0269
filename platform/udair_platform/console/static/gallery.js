// The pictures of a version: which one, what is on either side, and one zoom and place for all of them.
const stage = document.querySelector(".stage");
if (stage) {
  const links = [...document.querySelectorAll(".film a")];
  const sides = Object.fromEntries([...stage.querySelectorAll("[data-side]")].map((choice) => [choice.dataset.side, choice]));
  let at = links.findIndex((link) => link.hasAttribute("aria-current"));

  function show(picture, kind, word) {
    const told = JSON.parse(links[at].dataset.picture);
    picture.src = stage.dataset.base + (told.files[kind] || Object.values(told.files)[0]);
    [picture.width, picture.height] = [told.width, told.height];
    picture.alt = `${told.key}, ${word}`;
  }
  function showAll() {
    for (const side of ["first", "second"]) {
      const [{ value, textContent }] = sides[side].selectedOptions;
      show(stage.querySelector(`[slot=${side}]`), value, textContent);
      stage.querySelector(`[data-named=${side}]`).textContent = textContent;
    }
    for (const picture of stage.querySelectorAll(".panes img")) show(picture, picture.dataset.kind, picture.closest("figure").textContent.trim());
    const told = JSON.parse(links[at].dataset.picture);
    stage.querySelector("[data-key]").textContent = told.key;
    stage.querySelector("[data-said]").textContent = told.said;
    links.forEach((link, number) => (number === at ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
  }
  function go(number) {
    if (number < 0 || number >= links.length) return;
    at = number;
    showAll();
    history.replaceState(null, "", links[at].getAttribute("href"));
  }
  links.forEach((link, number) => link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(number);
  }));
  for (const choice of Object.values(sides)) choice.addEventListener("change", showAll);
  for (const choice of stage.querySelectorAll("[name=view]")) choice.addEventListener("change", () => {
    stage.querySelector(".slider").hidden = stage.querySelector("[data-sides]").hidden = choice.value !== "slider";
    stage.querySelector(".panes").hidden = choice.value !== "panes";
  });

  let [zoom, x, y] = [1, 0, 0];
  const range = stage.querySelector("[data-zoom]");
  function place() {
    const most = (50 * (zoom - 1)) / zoom;
    [x, y] = [x, y].map((value) => Math.max(-most, Math.min(most, value)));
    stage.style.setProperty("--zoom", zoom);
    stage.style.setProperty("--x", `${x}%`);
    stage.style.setProperty("--y", `${y}%`);
    stage.classList.toggle("zoomed", zoom > 1);
    range.value = zoom;
  }
  function zoomTo(value) { zoom = Math.max(1, Math.min(8, value)); place(); }
  range.addEventListener("input", () => zoomTo(Number(range.value)));
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey || !event.target.closest(".frame")) return;
    event.preventDefault();
    zoomTo(zoom * (event.deltaY < 0 ? 1.15 : 0.87));
  }, { passive: false });
  // A plain drag belongs to the slider; in the panes it moves the pictures, elsewhere with Shift.
  stage.addEventListener("pointermove", (event) => {
    const frame = event.target.closest(".frame");
    if (!frame || zoom === 1 || !event.buttons || !(event.shiftKey || event.target.closest(".panes"))) return;
    x += (100 * event.movementX) / frame.clientWidth / zoom;
    y += (100 * event.movementY) / frame.clientHeight / zoom;
    place();
  }, true);
  stage.addEventListener("keydown", (event) => {
    if (event.target.closest("select, input, a")) return;
    const step = { ArrowLeft: [6, 0], ArrowRight: [-6, 0], ArrowUp: [0, 6], ArrowDown: [0, -6] }[event.key];
    if (event.shiftKey && step) { x += step[0] / zoom; y += step[1] / zoom; place(); }
    else if (event.key === "+" || event.key === "=") zoomTo(zoom * 1.25);
    else if (event.key === "-") zoomTo(zoom / 1.25);
    else if (event.key === "0") zoomTo(1);
    else if (event.key === "PageDown") go(at + 1);
    else if (event.key === "PageUp") go(at - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
  for (const button of stage.querySelectorAll("[data-go]")) {
    button.hidden = false;
    button.addEventListener("click", () => go(at + Number(button.dataset.go)));
  }
}
