// The live view of a job on a notebook's page. `liveoutput.py` puts the picture of the last known state into a cell's
// output and loads this module; `jupyterserver.py` serves it and talks to it. While there is no connection to the
// Jupyter server, or it does not know the job, the picture stays.

const views = []; // those whose outputs are, or were, on the page
const FIRST_RETRY = 1000;
const LAST_RETRY = 15000;

function made(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function button(text, hint, press) {
  const label = /\w/.test(text) ? {} : { "aria-label": hint };
  return made("button", { type: "button", className: "edl-button", textContent: text, title: hint, onclick: press,
    ...label });
}

class View {
  constructor(host, base) {
    this.job = host.dataset.job;
    this.identity = host.dataset.identity;
    this.base = base;
    this.parts = {};
    this.retry = FIRST_RETRY;
    this.root = made("div", { className: "edl-view" });
    this.adopt(host);
    this.connect();
  }

  // The notebook draws an output again whenever the kernel updates it: what is on the page moves there.
  adopt(host) {
    const scrolled = this.tail ? this.tail.scrollTop : 0;
    const focused = this.focused;
    this.host = host;
    host.append(this.root);
    this.show();
    if (this.tail) this.tail.scrollTop = scrolled;
    if (focused && document.activeElement === document.body) focused.focus({ preventScroll: true });
  }

  show() {
    const saved = this.host.firstElementChild;
    if (saved !== this.root) saved.style.display = this.alive ? "none" : "";
    this.root.style.display = this.alive ? "" : "none";
  }

  connect() {
    const url = new URL(`${this.base}elasticdl/jobs/${encodeURIComponent(this.job)}/live`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("identity", this.identity);
    if (token) url.searchParams.set("token", token);
    this.socket = new WebSocket(url);
    this.socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    this.socket.onclose = (event) => this.closed(event.code);
  }

  closed(code) {
    if (this.over || code === 4404) {
      if (!this.over) { this.alive = false; this.show(); }
      return;
    }
    this.tell("No connection to the Jupyter server. Trying again…", true);
    // A page that has lost its server keeps the last picture, and says so.
    setTimeout(() => this.root.isConnected ? this.connect() : this.drop(), this.retry);
    this.retry = Math.min(2 * this.retry, LAST_RETRY);
  }

  drop() {
    views.splice(views.indexOf(this), 1);
  }

  ask(what) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(what));
  }

  receive(news) {
    if (!this.host.isConnected && !document.hidden) {
      // The output was removed from the page.
      this.lost = (this.lost || 0) + 1;
      if (this.lost > 20) { this.over = true; this.socket.close(); this.drop(); return; }
    } else {
      this.lost = 0;
    }
    if (news.begin) this.begin(news.begin);
    for (const [name, html] of Object.entries(news.parts || {})) this.draw(name, html);
    if (news.state) this.update(news.state);
    if (news.note !== undefined) this.tell(news.note);
    if (news.logs !== undefined) this.drawLogs(news.logs);
    if (news.over) this.end();
  }

  begin({ style, parts }) {
    this.retry = FIRST_RETRY;
    if (!this.alive) {
      this.root.append(made("style", { textContent: style }));
      for (const name of parts) {
        this.parts[name] = made("div", { className: "edl" });
        this.root.append(this.parts[name]);
        if (name === "head") this.root.append(this.controls());
      }
      for (const kind of ["pointermove", "pointerleave"]) this.root.addEventListener(kind, (event) => this.point(event));
      this.root.addEventListener("focusin", (event) => { this.focused = event.target; });
      this.root.addEventListener("focusout", (event) => {
        if (event.target.isConnected && document.hasFocus()) this.focused = null;
      });
      this.alive = true;
      this.show();
    } else if (!this.logs.hidden) {
      this.askLogs();
    }
    this.tell("");
  }

  draw(name, html) {
    const part = this.parts[name];
    const open = part.querySelector("details[open]");
    part.innerHTML = html;
    if (open) part.querySelector("details")?.setAttribute("open", "");
    if (name === "loss") showTip(this.root, this.pointer); // the chart under the pointer is a new one
  }

  // ------------------------------------------------------------ the curves

  point(event) {
    this.pointer = event.type === "pointerleave" ? null : event;
    showTip(this.root, this.pointer);
  }

  // ------------------------------------------------------------ the buttons

  controls() {
    this.stop = button("Stop", "End the job", () => this.confirm(true));
    this.fewer = button("−", "One worker fewer", () => this.scale(-1));
    this.count = made("span", { className: "edl-count" });
    this.more = button("+", "One worker more", () => this.scale(1));
    this.scaling = made("span", { className: "edl-scaling", role: "group", "aria-label": "Number of workers" },
      this.fewer, this.count, this.more);
    this.toggle = button("Logs", "Show what the job's processes print", () => this.toggleLogs());
    this.whose = made("select", { className: "edl-button", "aria-label": "Whose log", hidden: true,
      onchange: () => this.askLogs() });
    this.log = button("Log scale", "Draw the loss on a logarithmic scale, or not", () => this.ask({ ask: "axis",
      log: this.log.getAttribute("aria-pressed") !== "true" }));
    this.note = made("span", { className: "edl-note", role: "status" });
    this.question = made("span", { className: "edl-question" });
    this.yes = button("Stop the job", "End the job now", () => { this.confirm(false); this.ask({ ask: "stop" }); });
    this.no = button("Let it run", "Close this question", () => this.confirm(false));
    this.asking = made("div", { className: "edl-asking", role: "group", "aria-label": "Stop the job?", hidden: true },
      this.question, this.yes, this.no);
    this.asking.addEventListener("keydown", (event) => { if (event.key === "Escape") this.confirm(false); });
    this.logs = made("div", { className: "edl-logs", hidden: true });
    this.spoken = made("div", { className: "edl-spoken", role: "status" });
    const row = made("div", { className: "edl-row", role: "toolbar", "aria-label": `Job ${this.job}` },
      this.stop, this.scaling, this.log, this.toggle, this.whose, this.note);
    return made("div", { className: "edl edl-flat edl-controls" }, row, this.asking, this.logs, this.spoken);
  }

  confirm(open) {
    this.asking.hidden = !open;
    this.stop.setAttribute("aria-expanded", String(open));
    (open ? this.no : this.stop).focus({ preventScroll: true });
  }

  scale(by) {
    this.wanted = Math.max(1, (this.wanted ?? this.workers) + by);
    this.showWorkers();
    this.ask({ ask: "scale", workers: this.wanted });
  }

  showWorkers() {
    const workers = this.wanted ?? this.workers;
    this.count.textContent = workers === 1 ? "1 worker" : `${workers} workers`;
    this.fewer.disabled = workers <= 1 || this.stopping;
    this.more.disabled = this.stopping;
  }

  update(state) {
    this.stopping = state.stopping;
    this.stop.disabled = this.stopping;
    this.stop.textContent = this.stopping ? "Stopping…" : "Stop";
    this.question.textContent = `Stop the job? ${state.stakes}`;
    this.scaling.hidden = !state.can_scale;
    this.log.hidden = !state.has_loss;
    this.log.setAttribute("aria-pressed", String(state.log));
    this.workers = state.workers;
    if (this.workers === this.wanted || state.settled) this.wanted = undefined;
    this.showWorkers();
    const chosen = this.whose.value;
    if (this.whose.options.length !== state.processes.length + 1) {
      this.whose.replaceChildren(made("option", { value: "", textContent: "all processes" }),
        ...state.processes.map((name) => made("option", { value: name, textContent: name })));
      this.whose.value = state.processes.includes(chosen) ? chosen : "";
    }
    if (this.spoken.textContent !== state.spoken) this.spoken.textContent = state.spoken;
  }

  tell(text, disconnected = false) {
    if (!this.note) return;
    this.note.textContent = text;
    this.root.classList.toggle("edl-away", disconnected);
    for (const one of [this.stop, this.fewer, this.more, this.toggle]) {
      if (disconnected) one.disabled = true;
    }
    if (!disconnected) {
      this.toggle.disabled = false;
      this.stop.disabled = Boolean(this.stopping);
      if (this.workers) this.showWorkers();
    }
  }

  toggleLogs() {
    const open = this.logs.hidden;
    this.logs.hidden = this.whose.hidden = !open;
    this.toggle.setAttribute("aria-expanded", String(open));
    if (open) this.askLogs();
    else this.ask({ ask: "no logs" });
  }

  askLogs() {
    this.ask({ ask: "logs", process: this.whose.value });
  }

  drawLogs(html) {
    const scrolled = this.tail ? this.tail.scrollTop : 0;
    this.logs.innerHTML = html;
    this.tail = this.logs.querySelector(".edl-tail");
    if (this.tail) this.tail.scrollTop = scrolled;
  }

  end() {
    this.over = true;
    for (const one of [this.stop, this.scaling, this.asking]) one.hidden = true;
    this.stop.style.display = this.scaling.style.display = this.log.style.display = "none";
    if (this.logs.hidden) this.toggle.hidden = true;
    this.whose.disabled = true;
    this.socket.close();
  }
}

// A plain key typed into a button is no command to the notebook, while Ctrl+S is. JupyterLab looks for this attribute.
window.addEventListener("keydown", (event) => {
  event.target.closest?.(".edl-controls")
    ?.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey || event.altKey));
}, true);

let token = "";

// The loader in the output calls this, whenever the notebook draws the output.
window.elasticdlShow = (host, base, given) => {
  token = given || token;
  const former = views.find((view) => view.host.dataset.elasticdl === host.dataset.elasticdl &&
    (view.host === host || !view.host.isConnected));
  if (former) former.adopt(host);
  else views.push(new View(host, base));
};
