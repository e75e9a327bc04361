"use strict";
const byId = (id) => document.getElementById(id);
// A server for other machines gives its token behind the #, which browsers keep to themselves.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const headers = token ? { Authorization: `Bearer ${token}` } : {};
const done = [];
let tasks = [];
let mostBytes = Infinity;

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

const sentence = (error) => (error.hint ? `${error.message}; ${error.hint}` : error.message);

// The server may have been stopped while its page is still open.
async function ask(address, settings = {}) {
  try {
    return await fetch(address, { ...settings, headers });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("the server does not answer; see whether it still runs");
  }
}

async function words(answer) {
  try {
    return sentence((await answer.json()).error);
  } catch {
    return `the server answered ${answer.status}`;
  }
}

function options(select, values) {
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
}

const chosenTask = () => tasks.find((one) => one.task === byId("task").value);
const chosenWeights = () => tasks.flatMap((one) => one.weights).find((one) => one.id === byId("weights").value);
const PHOTO = { sr: ["photo", "a photo with noise or compression in it"], denoise: ["real", "the noise of a camera"] };

function offer() {
  const task = chosenTask();
  if (!task) return;
  options(byId("weights"), [["", "chosen for you"], ...task.weights.map((one) => [one.id, one.id])]);
  options(byId("scale"), task.scales.map((scale) => [scale, `${scale} times`]));
  byId("scale").value = String(task.scales.includes(2) ? 2 : task.scales.at(-1));
  refine();
}

// Shows the choices that the task and the weights leave open.
function refine() {
  const task = chosenTask();
  const weights = chosenWeights();
  const [variant, text] = PHOTO[task.task] || [];
  byId("scale-label").hidden = task.scales.at(-1) === 1 || Boolean(weights);
  byId("photo-label").hidden = !variant || Boolean(weights) || !task.weights.some((one) => one.variant === variant && one.bundled);
  byId("photo-text").textContent = text || "";
  byId("noise-label").hidden = !task.sigma;
  byId("sigma-label").hidden = !task.sigma || byId("noise").value !== "set";
  byId("strength-label").hidden = task.scales.at(-1) !== 1;
}

function chosen() {
  const query = new URLSearchParams({ task: byId("task").value });
  const open = (id) => !byId(`${id}-label`).hidden;
  if (byId("weights").value) query.set("weights", byId("weights").value);
  if (open("scale")) query.set("scale", byId("scale").value);
  if (open("photo") && byId("photo").checked) query.set(PHOTO[query.get("task")][0], "true");
  if (open("sigma")) query.set("sigma", byId("sigma").value);
  else if (open("noise") && byId("noise").value) query.set("sigma", byId("noise").value);
  if (open("strength") && byId("strength").value !== "100") query.set("strength", byId("strength").value / 100);
  return query;
}

// Events by fetch: an EventSource cannot send a token.
async function* events(address, signal) {
  const answer = await ask(address, { signal });
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
  done.push({ name, blob, card });
  const noise = answer.headers.get("X-Restore-Noise");
  card.querySelector(".state").textContent = [`${width}x${height} pixels`, answer.headers.get("X-Restore-Weights"),
    ...(noise ? [`noise of about sigma ${noise}`] : []), `${Number(answer.headers.get("X-Restore-Seconds")).toFixed(1)} s`].join(", ");
  const notes = JSON.parse(answer.headers.get("X-Restore-Warnings"));
  const images = card.querySelectorAll(".pane img");
  images.forEach((image, number) => {
    image.width = width;
    image.height = height;
    image.alt = `${file.name}, ${number ? "after" : "before"}`;
    image.src = number ? save.href : URL.createObjectURL(file);
  });
  const note = card.querySelector(".notes");
  note.textContent = notes.join("; ");
  Promise.all([...images].map((image) => image.decode())).then(() => {
    card.querySelector(".view").hidden = false;
    attachViewer(card.querySelector(".viewer"));
  }, () => {
    note.textContent = ["Your browser cannot show images of this format; the download is complete.", ...notes].join(" ");
  });
}

function remove(card) {
  card.querySelectorAll("img[src^='blob:'], .save[href]").forEach((one) => URL.revokeObjectURL(one.src || one.href));
  done.splice(0, done.length, ...done.filter((one) => one.card !== card));
  card.remove();
  byId("all").hidden = done.length < 2;
  byId("files").focus();
}

function newCard(file) {
  const card = byId("result").content.cloneNode(true).querySelector(".result");
  card.querySelector("h2").textContent = file.name;
  card.querySelector(".cancel").setAttribute("aria-label", `Cancel ${file.name}`);
  card.querySelector(".remove").setAttribute("aria-label", `Remove ${file.name} from this page`);
  card.querySelector(".remove").addEventListener("click", () => remove(card));
  card.querySelector("progress").setAttribute("aria-label", `Progress of ${file.name}`);
  return card;
}

// A browser opens six connections to a server, and each image being followed takes one.
const MOST_AT_ONCE = 3;
const waiting = [];
let busy = 0;

function turn(signal) {
  if (busy < MOST_AT_ONCE) {
    busy++;
    return Promise.resolve();
  }
  return new Promise((go, fail) => {
    waiting.push(go);
    signal.addEventListener("abort", () => {
      if (!waiting.includes(go)) return;
      waiting.splice(waiting.indexOf(go), 1);
      fail(signal.reason);
    });
  });
}

function giveTurn() {
  const next = waiting.shift();
  if (next) next();
  else busy--;
}

const jobs = new Set();
const forget = (job) => fetch(`v1/jobs/${job}`, { method: "DELETE", headers, keepalive: true }).catch(() => {});

async function restore(file, card = newCard(file)) {
  const state = card.querySelector(".state");
  const bar = card.querySelector("progress");
  const cancel = card.querySelector(".cancel");
  const stop = new AbortController();
  const query = chosen();
  let job = null;
  let mayAsk = false;
  const tell = (text) => { if (state.textContent !== text) state.textContent = text; };  // what changes is read aloud
  cancel.addEventListener("click", () => stop.abort());
  tell("waiting");
  if (!card.isConnected) byId("results").prepend(card);
  try {
    if (file.size > mostBytes) throw new Error(`it is larger than the ${Math.floor(mostBytes / 2 ** 20)} MiB this server takes`);
    await turn(stop.signal);
    mayAsk = true;
    let answer;
    for (;;) {
      tell("sending");
      answer = await ask(`v1/jobs?${query}`, { method: "POST", body: file, signal: stop.signal });
      if (answer.status !== 503) break;
      tell("waiting: the server is busy");
      await new Promise((go) => setTimeout(go, 1000 * Number(answer.headers.get("Retry-After") || 1)));
      stop.signal.throwIfAborted();
    }
    if (!answer.ok) throw new Error(await words(answer));
    job = (await answer.json()).id;
    jobs.add(job);
    for await (const told of events(`v1/jobs/${job}/events`, stop.signal)) {
      if (told.error) throw new Error(sentence(told.error));
      bar.hidden = told.state !== "running";
      if (told.share) bar.value = told.share;
      if (told.state === "queued") tell(told.ahead > 1 ? `waiting, ${told.ahead - 1} before this one` : "waiting, next in line");
      else if (told.state === "running") tell("restoring");
    }
    answer = await ask(`v1/jobs/${job}/result`, { signal: stop.signal });
    if (!answer.ok) throw new Error(await words(answer));
    show(card, file, query.get("task"), await answer.blob(), answer);
    byId("all").hidden = done.length < 2;
  } catch (error) {
    card.classList.toggle("failed", error.name !== "AbortError");
    tell(error.name === "AbortError" ? "cancelled" : error.message);
  }
  if (job) {
    jobs.delete(job);
    forget(job);
  }
  if (mayAsk) giveTurn();
  bar.hidden = true;
  cancel.remove();
  card.querySelector(".remove").hidden = false;
}

function take(files) {
  problem(files.length ? "" : "There was no image in that; drop or choose image files.");
  const cards = files.map(newCard);
  byId("results").prepend(...cards);
  files.forEach((file, number) => restore(file, cards[number]));
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
byId("weights").addEventListener("change", refine);
byId("noise").addEventListener("change", refine);
byId("sigma").addEventListener("input", () => { byId("sigma-text").textContent = byId("sigma").value; });
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
window.addEventListener("pagehide", () => jobs.forEach(forget));

(async () => {
  const answer = await ask("v1/tasks");
  if (!answer.ok) throw new Error(await words(answer));
  const offered = await answer.json();
  tasks = offered.tasks;
  mostBytes = offered.max_upload;
  options(byId("task"), tasks.map((one) => [one.task, one.action]));
  offer();
})().catch((error) => problem(error.message));
