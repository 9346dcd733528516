"use strict";

const AT_ONCE = 2;   // requests at the same time, as many as the server works on
const ATTEMPTS = 30; // while the server is busy

const LEGEND = "Where the network looks for its answer, and where the strongest filter of each block " +
  "responds: dark is low, yellow is high.";

const find = id => document.getElementById(id);
const waiting = [];
let about = null, active = 0, asked = 0, answered = 0;

function made(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

function tell() {
  find("status").textContent = asked ? `${answered} of ${asked} answered` : "";
  find("clear").hidden = !asked || answered < asked;
}

// Returns the server's JSON. Throws an Error with the cause if the server refuses or does not answer.
async function ask(path, file) {
  const form = new FormData();
  form.append("images", file, file.name);
  for (let attempt = 1; ; attempt++) {
    let response, said;
    try {
      response = await fetch(path, {method: "POST", body: form});
      said = await response.json();
    } catch {
      throw new Error("the server does not answer: is mlr serve still running?");
    }
    if (response.ok) return said;
    if (response.status !== 503 || attempt === ATTEMPTS) throw new Error(said.cause);
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise(resolve => setTimeout(resolve, 1000 * seconds));
  }
}

function bars(probabilities) {
  const table = made("table");
  for (const [name, probability] of Object.entries(probabilities)) {
    const row = table.insertRow(), head = made("th", name), bar = made("progress");
    head.scope = "row";
    bar.value = probability;
    bar.setAttribute("aria-label", name);
    row.append(head);
    row.insertCell().append(bar);
    row.insertCell().textContent = probability.toFixed(3);
  }
  return table;
}

function figure({title, picture}) {
  const element = made("figure"), image = made("img");
  image.src = picture;
  image.alt = title;
  element.append(image, made("figcaption", title));
  return element;
}

function wrong(item, cause) {
  const line = made("p", cause, "error");
  line.setAttribute("role", "alert");
  item.append(line);
}

async function answer({file, item}) {
  try {
    if (file.size > about.most_bytes) {
      const most = Math.floor(about.most_bytes / 2 ** 20);
      throw new Error(`the file has more than ${most} MiB: make the photograph smaller`);
    }
    const [said] = (await ask("/predict", file)).images;
    if (said.cause) throw new Error(said.cause);
    const row = made("div", "", "answer"), preview = made("img");
    preview.src = URL.createObjectURL(file);
    preview.alt = "";   // the heading has its name
    preview.onerror = () => preview.remove();   // a format that mlr reads but the browser does not
    row.append(preview, bars(said.probabilities));
    item.append(row);
    if (about.has_views) {
      const drawn = await ask("/views", file), views = made("div", "", "views");
      if (drawn.cause) throw new Error(drawn.cause);
      views.append(...drawn.views.map(figure));
      item.append(made("p", LEGEND, "legend"), views);
    }
  } catch (error) {
    wrong(item, error.message);
  }
  item.setAttribute("aria-busy", "false");
}

async function work() {
  while (about && active < AT_ONCE && waiting.length) {
    active++;
    answer(waiting.shift()).finally(() => {
      active--;
      answered++;
      tell();
      work();
    });
  }
}

function take(files) {
  for (const file of files) {
    const item = made("li");
    item.setAttribute("aria-busy", "true");
    item.append(made("h2", file.name));
    find("photographs").prepend(item);
    waiting.push({file, item});
    asked++;
  }
  tell();
  work();
}

find("files").addEventListener("change", event => {
  take(event.target.files);
  event.target.value = "";   // so that the same file can be chosen again
});
addEventListener("paste", event => take(event.clipboardData.files));
addEventListener("dragover", event => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", event => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", event => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});
find("clear").addEventListener("click", () => {
  for (const image of document.querySelectorAll(".answer > img")) URL.revokeObjectURL(image.src);
  find("photographs").replaceChildren();
  asked = answered = 0;
  tell();
  find("files").focus();
});

fetch("/about").then(response => response.json()).then(said => {
  about = said;
  find("about").textContent = 
    `The run ${said.run} knows ${said.classes.length} classes: ${said.classes.join(", ")}.`;
  work();
}).catch(() => wrong(find("about"), "the server does not answer: is mlr serve still running?"));
