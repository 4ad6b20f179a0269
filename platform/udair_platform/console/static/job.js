// A job as it goes on: events and lines of the log arrive one by one. A stream that breaks comes back by itself and
// goes on where it was.
const live = document.querySelector("[data-live]");
const logText = document.querySelector("[data-log-text]");
const events = document.querySelector("[data-events]");
const standing = document.querySelector("[data-standing]");
const MOST_LINES = 2000;

function follow(url, kinds, take) {
  const stream = new EventSource(url);
  stream.addEventListener("open", () => { standing.textContent = "live"; });
  stream.addEventListener("error", () => { standing.textContent = "reconnecting…"; });
  for (const kind of kinds) stream.addEventListener(kind, (event) => take(event, stream));
}

function happened(event) {
  const told = JSON.parse(event.data);
  if (events.querySelector(`[data-id="${told.id}"]`)) return;
  const [line, when, what] = ["li", "time", "b"].map((name) => document.createElement(name));
  line.dataset.id = told.id;
  when.textContent = new Date(told.time).toLocaleTimeString();
  what.textContent = told.kind;
  line.append(when, " ", what, ` ${(told.data.phase || "").toLowerCase()}`);
  events.append(line);
}

const lines = [];
function printed(event, stream) {
  if (event.type === "end") return stream.close();
  const atEnd = logText.scrollTop + logText.clientHeight >= logText.scrollHeight - 8;
  lines.push(event.data);
  if (lines.length > MOST_LINES) lines.shift();
  logText.textContent = lines.join("\n");
  if (atEnd) logText.scrollTop = logText.scrollHeight;
}

if (live.dataset.done === "0") {
  const states = ["QUEUED", "PROVISIONING", "RUNNING", "RECOVERING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"];
  follow(live.dataset.stream, states.map((state) => `job.${state}`), happened);
  follow(live.dataset.log, ["line", "end"], printed);
} else {
  fetch(live.dataset.log, { credentials: "same-origin" })
    .then((answer) => (answer.ok ? answer.text() : "The log cannot be read now."))
    .then((text) => { logText.textContent = text || "It printed nothing."; logText.scrollTop = logText.scrollHeight; });
}
