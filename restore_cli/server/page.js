"use strict";
const byId = (id) => document.getElementById(id);
// A server for other machines gives its token behind the #, which browsers keep to themselves.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const headers = token ? { Authorization: `Bearer ${token}` } : {};
const done = [];
let tasks = [];

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

async function words(answer) {
  try {
    const { error } = await answer.json();
    return error.hint ? `${error.message}; ${error.hint}` : error.message;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

function options(select, values) {
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
}

function offer() {
  const task = tasks.find((one) => one.task === byId("task").value);
  if (!task) return;
  options(byId("weights"), [["", "the bundled ones"], ...task.weights.map((one) => [one.id, one.id])]);
  byId("scale-label").hidden = task.task !== "sr";
  options(byId("scale"), task.scales.map((scale) => [scale, `${scale} times`]));
  byId("scale").value = String(task.scales.at(-1));
  byId("sigma-label").hidden = !task.sigma;
  byId("strength-label").hidden = task.task === "sr";
}

function chosen() {
  const query = new URLSearchParams({ task: byId("task").value });
  if (byId("weights").value) query.set("weights", byId("weights").value);
  const weights = tasks.flatMap((one) => one.weights).find((one) => one.id === byId("weights").value);
  if (!byId("scale-label").hidden) {
    query.set("scale", weights ? weights.scale : byId("scale").value);
    if (weights && weights.variant === "photo") query.set("photo", "1");
  }
  if (!byId("sigma-label").hidden && Number(byId("sigma").value)) query.set("sigma", byId("sigma").value);
  if (!byId("strength-label").hidden && byId("strength").value !== "100") query.set("strength", byId("strength").value / 100);
  return query;
}

// Events by fetch: an EventSource cannot send a token.
async function* events(address, signal) {
  const answer = await fetch(address, { headers, signal });
  if (!answer.ok) throw new Error(await words(answer));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done: ended } = await reader.read();
    if (ended) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice(part.indexOf("data: ") + 6));
  }
}

const SUFFIXES = { "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/tiff": ".tif", "image/avif": ".avif",
  "image/heic": ".heic", "image/jxl": ".jxl", "image/x-portable-anymap": ".ppm" };

function show(card, file, task, blob, answer) {
  const [width, height] = answer.headers.get("X-Restore-Size").split("x");
  const name = file.name.replace(/\.[^.]*$/, "") + `_${task}` + (SUFFIXES[blob.type] || "");
  const save = card.querySelector(".save");
  save.href = URL.createObjectURL(blob);
  save.download = name;
  save.hidden = false;
  save.setAttribute("aria-label", `Download ${name}`);
  done.push({ name, blob });
  byId("all").hidden = done.length < 2;
  const warnings = JSON.parse(answer.headers.get("X-Restore-Warnings"));
  card.querySelector(".state").textContent = [`${width}x${height} pixels, ${answer.headers.get("X-Restore-Weights")}, ` +
    `${Number(answer.headers.get("X-Restore-Seconds")).toFixed(1)} s`, ...warnings].join("; ");
  const images = card.querySelectorAll(".pane img");
  images.forEach((image, number) => {
    image.width = width;
    image.height = height;
    image.alt = `${file.name}, ${number ? "after" : "before"}`;
    image.src = number ? save.href : URL.createObjectURL(file);
  });
  // Not every browser shows every format; the download is there all the same.
  Promise.all([...images].map((image) => image.decode())).then(() => {
    card.querySelector(".view").hidden = false;
    attachViewer(card.querySelector(".viewer"));
  }, () => {});
}

async function restore(file) {
  const card = byId("result").content.cloneNode(true).querySelector(".result");
  const state = card.querySelector(".state");
  const cancel = card.querySelector(".cancel");
  const stop = new AbortController();
  const query = chosen();
  let job = null;
  card.querySelector("h2").textContent = file.name;
  cancel.setAttribute("aria-label", `Cancel ${file.name}`);
  cancel.addEventListener("click", () => {
    stop.abort();
    if (job) fetch(`v1/jobs/${job}`, { method: "DELETE", headers });
  });
  state.textContent = "sending";
  byId("results").prepend(card);
  try {
    let answer;
    for (;;) {
      answer = await fetch(`v1/jobs?${query}`, { method: "POST", headers, body: file, signal: stop.signal });
      if (answer.status !== 503) break;
      state.textContent = "waiting for a place";
      await new Promise((go) => setTimeout(go, 1000 * Number(answer.headers.get("Retry-After") || 1)));
      stop.signal.throwIfAborted();
    }
    if (!answer.ok) throw new Error(await words(answer));
    job = (await answer.json()).id;
    const started = Date.now();
    for await (const told of events(`v1/jobs/${job}/events`, stop.signal)) {
      const seconds = Math.round((Date.now() - started) / 1000);
      if (told.error) throw new Error(told.error.hint ? `${told.error.message}; ${told.error.hint}` : told.error.message);
      const share = told.share ? `, ${Math.round(100 * told.share)} %` : "";
      state.textContent = told.state === "queued" ? `waiting, number ${told.ahead}` : `restoring, ${seconds} s${share}`;
    }
    answer = await fetch(`v1/jobs/${job}/result`, { headers, signal: stop.signal });
    if (!answer.ok) throw new Error(await words(answer));
    show(card, file, query.get("task"), await answer.blob(), answer);
    fetch(`v1/jobs/${job}`, { method: "DELETE", headers });
  } catch (error) {
    card.classList.add("failed");
    state.textContent = error.name === "AbortError" ? "cancelled" : error.message;
  }
  cancel.remove();
}

function take(files) {
  problem("");
  for (const file of files) restore(file);
}

// A zip that stores its files as they are: images do not get smaller.
const TABLE = Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function checksum(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 255] ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}

function numbers(...pairs) {
  const view = new DataView(new ArrayBuffer(pairs.reduce((size, [bytes]) => size + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of pairs) {
    if (bytes === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += bytes;
  }
  return view.buffer;
}

async function zip(files) {
  const parts = [];
  const listing = [];
  const taken = new Map();
  let at = 0;
  for (const { name, blob } of files) {
    const count = (taken.get(name) || 0) + 1;
    taken.set(name, count);
    const label = new TextEncoder().encode(count > 1 ? name.replace(/(\.[^.]*)?$/, `-${count}$1`) : name);
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const facts = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 33], [4, checksum(bytes)], [4, bytes.length], [4, bytes.length],
      [2, label.length], [2, 0]];
    parts.push(numbers([4, 0x04034b50], ...facts), label, bytes);
    listing.push(numbers([4, 0x02014b50], [2, 20], ...facts, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]), label);
    at += 30 + label.length + bytes.length;
  }
  const length = listing.reduce((size, part) => size + part.byteLength, 0);
  const end = numbers([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, length], [4, at], [2, 0]);
  return new Blob([...parts, ...listing, end], { type: "application/zip" });
}

byId("zip").addEventListener("click", async () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await zip(done));
  link.download = "restored.zip";
  link.click();
});
byId("task").addEventListener("change", offer);
byId("sigma").addEventListener("input", () => {
  const level = Number(byId("sigma").value);
  byId("sigma-text").textContent = level ? `sigma ${level}` : "found by itself";
});
byId("strength").addEventListener("input", () => {
  byId("strength-text").textContent = `${byId("strength").value} %`;
});
byId("choices").addEventListener("submit", (event) => event.preventDefault());
byId("files").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take([...event.dataTransfer.files]);
  });
}
document.addEventListener("paste", (event) => take([...event.clipboardData.files]));

(async () => {
  const answer = await fetch("v1/tasks", { headers });
  if (!answer.ok) return problem(await words(answer));
  tasks = (await answer.json()).tasks;
  options(byId("task"), tasks.map((one) => [one.task, one.title]));
  return offer();
})();
