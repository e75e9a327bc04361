"use strict";
const FIT_HEIGHT = "max(18rem, 100vh - 22rem)";  // with its heading, its buttons and the slider an image fits the window
// Brings viewers to life: the slider, the parts, the zoom. Each <div class="viewer"> is set up once, by attachViewer.
function attachViewer(viewer) {
  const stage = viewer.querySelector(".stage");
  const slider = viewer.querySelector("input[type=range]");
  const note = viewer.querySelector("[role=status]");
  const panes = [...viewer.querySelectorAll(".pane")];
  let zoom = 0;
  const shown = () => panes.find((pane) => !pane.hidden);

  // The slider divides what is in sight, so that it stays in reach where the image is larger than its stage.
  function split() {
    const pane = shown();
    const width = Math.min(stage.clientWidth, pane.offsetWidth);
    const at = stage.scrollLeft + (slider.value / 100) * width;
    pane.style.setProperty("--split", `${at}px`);
    for (const [side, room] of [["before", at], ["after", width - at]]) {
      pane.querySelector(`.${side}-tag`).classList.toggle("covered", room < 80);
    }
    slider.setAttribute("aria-valuetext", `${Math.round(slider.value)} % before`);
  }

  // Reduced images make way for the whole files beside the page when somebody looks closely.
  function load(image) {
    const full = image.dataset.full;
    if (!full) return;
    const reduced = image.src;
    delete image.dataset.full;
    image.addEventListener("error", () => {
      image.src = reduced;
      note.textContent = "The whole image is not where it was, or the browser cannot show it: a reduced one is shown.";
      note.hidden = false;
    }, { once: true });
    image.src = full;
  }

  function draw() {
    const pane = shown();
    const across = (stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth;
    const down = (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight;
    const after = pane.querySelector(".after");
    const [width, height] = [after.getAttribute("width"), after.getAttribute("height")];
    const pixels = width / (window.devicePixelRatio || 1);
    pane.style.setProperty("--width", zoom ? `${pixels * zoom}px` : `min(100%, ${width / height} * ${FIT_HEIGHT})`);
    pane.classList.toggle("large", zoom > 1);
    stage.classList.toggle("zoomed", zoom > 0);
    stage.scrollLeft = across * stage.scrollWidth - stage.clientWidth / 2;  // what was in the middle stays there
    stage.scrollTop = down * stage.scrollHeight - stage.clientHeight / 2;
    if (zoom) pane.querySelectorAll("img").forEach(load);
    split();
  }

  function press(buttons, chosen) {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));
    draw();
  }

  for (const kind of ["zoom", "pane"]) {
    const buttons = [...viewer.querySelectorAll(`[data-${kind}]`)];
    buttons.forEach((button) => button.addEventListener("click", () => {
      if (kind === "zoom") zoom = Number(button.dataset.zoom);
      else panes.forEach((pane, number) => { pane.hidden = number !== Number(button.dataset.pane); });
      press(buttons, button);
    }));
  }

  function follow(event) {
    if (event.pointerType === "touch" && zoom) return;  // a finger moves the image then, the slider below divides it
    const box = stage.getBoundingClientRect();
    const width = Math.min(stage.clientWidth, shown().offsetWidth);
    const start = box.left + Math.max(0, (stage.clientWidth - width) / 2);
    slider.value = Math.min(100, Math.max(0, (100 * (event.clientX - start)) / width));
    split();
  }
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.offsetX > stage.clientWidth + stage.scrollLeft) return;
    event.preventDefault();
    if (event.pointerType !== "touch") stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => { if (event.buttons & 1) follow(event); });
  slider.addEventListener("input", split);
  stage.addEventListener("scroll", split, { passive: true });
  new ResizeObserver(split).observe(stage);

  panes.forEach((pane, number) => { pane.hidden = number > 0; });
  viewer.classList.add("live");
  draw();
}
document.querySelectorAll(".viewer").forEach(attachViewer);
