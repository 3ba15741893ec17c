// Draws the page's data: grids of numbers, and scenes that step through them. Nothing is computed here: every
// number, each part of it and each finite difference was put into the data, and is looked up.

const MANY = 14; // columns, from which on cells are drawn smaller
const PARTS = 48; // the most parts of a sum that are written out
const PAUSE = 1100; // milliseconds between steps that play

// ------------------------------------------------------------------------------------------- small things

const bracketed = (text) => (text.startsWith("−") ? `(${text})` : text);

/** The values of a grid at one step of a scene. */
const frame = (grid, step) => grid.values[grid.frames ? step : 0];

/** The parts of a cell at one step. */
const partsOf = (grid, cell, step) => (grid.made[grid.frames ? step : 0] ?? {})[cell] ?? [];

/** Row and column of a cell in its panel, and the panel. */
function place(grid, cell) {
  const [, rows, columns] = grid.panels;
  const inside = cell % (rows * columns);
  return [Math.floor(cell / (rows * columns)), Math.floor(inside / columns), inside % columns];
}

function isOutside(grid, cell) {
  if (!grid.border) return false;
  const [, rows, columns] = grid.panels;
  const [, row, column] = place(grid, cell);
  const [[top, bottom], [left, right]] = grid.border;
  return row < top || row >= rows - bottom || column < left || column >= columns - right;
}

/** What a cell is called: x[0, 1, 2, 2]. */
function label(grid, cell) {
  if (grid.labels) return grid.labels[cell];
  if (!grid.shape.length) return grid.name;
  if (isOutside(grid, cell)) return "padding";
  const index = [];
  for (let axis = grid.shape.length - 1, rest = cell; axis >= 0; axis--) {
    index.unshift(rest % grid.shape[axis]);
    rest = Math.floor(rest / grid.shape[axis]);
  }
  if (grid.border) {
    index[index.length - 2] -= grid.border[0][0];
    index[index.length - 1] -= grid.border[1][0];
  }
  return `${grid.name}[${index.join(", ")}]`;
}

/** What a panel is called: x[0, 1]. */
function panelName(grid, panel) {
  const [, rows, columns] = grid.panels;
  if (grid.labels) return grid.labels[panel * rows * columns] + " …";
  const index = [];
  for (let axis = grid.shape.length - 3, rest = panel; axis >= 0; axis--) {
    index.unshift(rest % grid.shape[axis]);
    rest = Math.floor(rest / grid.shape[axis]);
  }
  return `${grid.name}[${index.join(", ")}]`;
}

// --------------------------------------------------------------------------------------------------- grids

/** A grid as tables of cells, which can be lit, pointed at, and walked through with the arrow keys. */
class GridView {
  constructor(number, scene) {
    this.number = number;
    this.grid = data.grids[number];
    this.scene = scene;
    this.cells = [];
    const [panels, rows, columns] = this.grid.panels;
    const tables = make("div", { class: "panels" });
    for (let panel = 0; panel < panels; panel++) tables.append(this.panel(panel, rows, columns, panels > 1));
    this.scroll = make("div", { class: "scroll" }, tables);
    this.figure = make("figure", { class: columns > MANY ? "many" : "" },
      make("figcaption", {}, this.grid.caption || this.grid.name), this.scroll);
    this.cells[0].tabIndex = 0;
    this.marked = [];
    this.listen();
  }

  panel(panel, rows, columns, named) {
    const name = this.grid.shape.length > 2 ? panelName(this.grid, panel) : this.grid.caption || this.grid.name;
    const body = make("tbody");
    for (let row = 0; row < rows; row++) {
      const line = make("tr");
      for (let column = 0; column < columns; column++) {
        const cell = make("td", { tabindex: "-1" });
        cell.number = this.cells.push(cell) - 1;
        line.append(cell);
      }
      body.append(line);
    }
    const table = make("table", { role: "grid", "aria-label": name }, body);
    return make("div", {}, ...(named ? [make("div", { class: "panel-name" }, name)] : []), table);
  }

  listen() {
    const cellOf = (event) => event.target.closest("td");
    this.figure.addEventListener("pointerover", (event) => {
      if (cellOf(event)) this.scene.point(this, cellOf(event).number);
    });
    this.figure.addEventListener("pointerleave", () => this.scene.point(null));
    this.figure.addEventListener("focusin", (event) => {
      const cell = cellOf(event);
      if (!cell) return;
      for (const other of this.cells) if (other.tabIndex === 0) other.tabIndex = -1;
      cell.tabIndex = 0;
      this.scene.point(this, cell.number);
    });
    this.figure.addEventListener("focusout", () => this.scene.point(null));
    this.figure.addEventListener("click", (event) => {
      if (cellOf(event)) this.scene.choose(this, cellOf(event).number);
    });
    this.figure.addEventListener("keydown", (event) => {
      if (cellOf(event)) this.key(event, cellOf(event).number);
    });
  }

  key(event, cell) {
    const [panels, rows, columns] = this.grid.panels;
    let [panel, row, column] = place(this.grid, cell);
    if (event.key === "ArrowUp") row = Math.max(0, row - 1);
    else if (event.key === "ArrowDown") row = Math.min(rows - 1, row + 1);
    else if (event.key === "ArrowLeft") column -= 1;
    else if (event.key === "ArrowRight") column += 1;
    else if (event.key === "Home") column = 0;
    else if (event.key === "End") column = columns - 1;
    else if (event.key === "Enter" || event.key === " ") this.scene.choose(this, cell);
    else return;
    event.preventDefault();
    // Over the edge of a panel lies the next one.
    if (column < 0) [panel, column] = panel > 0 ? [panel - 1, columns - 1] : [panel, 0];
    if (column >= columns) [panel, column] = panel < panels - 1 ? [panel + 1, 0] : [panel, columns - 1];
    this.cells[(panel * rows + row) * columns + column].focus();
  }

  /** Write the numbers of one step into the cells. */
  paint(step) {
    if (this.painted !== undefined && !this.grid.frames) return;
    this.painted = step;
    const values = frame(this.grid, step);
    this.cells.forEach((cell, number) => {
      const value = values[number];
      const outside = isOutside(this.grid, number);
      cell.textContent = outside && this.grid.outside ? this.grid.outside : show(value);
      cell.className = outside ? "outside" : value > 0 ? "plus" : value < 0 ? "minus" : "none";
      cell.style.setProperty("--share", this.grid.largest ? Math.abs(value ?? 0) / this.grid.largest : 0);
    });
  }

  mark(cells, kind) {
    for (const cell of cells) {
      this.cells[cell].classList.add(kind);
      this.marked.push(this.cells[cell]);
    }
  }

  clear() {
    for (const cell of this.marked) cell.classList.remove("lit", "chosen", "now", "pointed");
    this.marked = [];
  }

  /** Bring a cell into view inside this grid, without moving the page. */
  reveal(cell) {
    const box = this.scroll.getBoundingClientRect();
    const at = this.cells[cell].getBoundingClientRect();
    if (at.left < box.left) this.scroll.scrollLeft -= box.left - at.left;
    if (at.right > box.right) this.scroll.scrollLeft += at.right - box.right;
    if (at.top < box.top) this.scroll.scrollTop -= box.top - at.top;
    if (at.bottom > box.bottom) this.scroll.scrollTop += at.bottom - box.bottom;
  }
}

// -------------------------------------------------------------------------------------------------- scenes

/** Grids beside each other, the player that steps through them, and what is said about a number. */
class Scene {
  constructor(about) {
    this.about = about;
    this.step = 0;
    this.views = new Map();
    this.stage = make("div", { class: "stage" });
    let sign = [];
    for (const item of about.layout) {
      if (typeof item === "string") {
        sign = [make("span", { class: "sign", "aria-hidden": "true" }, item)];
        continue;
      }
      const view = new GridView(item, this);
      if (item === about.subject) view.figure.classList.add("subject");
      this.views.set(item, view);
      this.stage.append(make("div", { class: "item" }, ...sign, view.figure));
      sign = [];
    }
    this.note = make("p", { class: "note" });
    this.formula = make("div", { class: "formula" });
    this.readout = make("div", { class: "readout", role: "status", "aria-live": "polite" }, this.note, this.formula);
    this.section = make("section", { id: about.key },
      make("h2", {}, about.title),
      ...about.text.map((paragraph) => make("p", {}, paragraph)),
      ...(about.equation ? [make("div", { class: "equation" }, about.equation)] : []),
      this.player(), this.stage, this.readout);
    this.go(0);
  }

  player() {
    const last = this.about.steps.length - 1;
    const button = (text, name, action) => {
      const made = make("button", { type: "button", "aria-label": name }, text);
      made.addEventListener("click", action);
      return made;
    };
    this.back = button("◀", "one step back", () => this.stop(this.step - 1));
    this.play = button("Play", "play", () => (this.timer ? this.stop() : this.start()));
    this.forward = button("▶", "one step forward", () => this.stop(this.step + 1));
    this.slider = make("input", { type: "range", min: 0, max: last, value: 0, "aria-label": "step" });
    this.slider.addEventListener("input", () => this.stop(Number(this.slider.value)));
    this.counter = make("output");
    const player = make("div", { class: "player", role: "group", "aria-label": `steps of: ${this.about.title}` },
      this.back, this.play, this.forward, this.counter, this.slider);
    player.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: this.step - 1, ArrowRight: this.step + 1, Home: 0, End: last };
      if (event.key in moves) this.stop(moves[event.key]);
      else if (event.key === " " && event.target === this.slider) this.play.click();
      else return;
      event.preventDefault();
    });
    return player;
  }

  start() {
    if (this.step === this.about.steps.length - 1) this.go(0);
    this.timer = setInterval(() => {
      this.go(this.step + 1);
      if (this.step === this.about.steps.length - 1) this.stop();
    }, PAUSE);
    this.playing();
  }

  stop(step = this.step) {
    clearInterval(this.timer);
    this.timer = undefined;
    this.playing();
    this.go(step);
  }

  playing() {
    this.play.textContent = this.timer ? "Pause" : "Play";
    this.play.setAttribute("aria-label", this.timer ? "pause" : "play");
    this.readout.setAttribute("aria-live", this.timer ? "off" : "polite");
  }

  go(step) {
    this.step = Math.min(Math.max(step, 0), this.about.steps.length - 1);
    this.slider.value = this.step;
    this.slider.setAttribute("aria-valuetext", `${this.step + 1} of ${this.about.steps.length}`);
    this.counter.textContent = `${this.step + 1} of ${this.about.steps.length}`;
    for (const view of this.views.values()) view.clear(), view.paint(this.step);
    this.light();
    for (const view of this.views.values()) if (view.marked.length) view.reveal(view.marked[0].number);
    this.note.textContent = this.about.steps[this.step].note;
    this.describe(this.views.get(this.about.subject), this.about.steps[this.step].cells[0]);
  }

  /** Mark what the step is about. */
  light() {
    const { cells, lit, chosen } = this.about.steps[this.step];
    const subject = data.grids[this.about.subject];
    this.mark(lit ?? this.sources(subject, cells[0]), "lit");
    this.mark(chosen ?? {}, "chosen");
    this.views.get(this.about.subject).mark(cells, "now");
  }

  mark(cellsOfGrids, kind) {
    for (const [number, cells] of Object.entries(cellsOfGrids)) this.views.get(Number(number))?.mark(cells, kind);
  }

  /** The cells that a cell is made of, by grid. */
  sources(grid, cell) {
    const found = {};
    for (const [, ...factors] of partsOf(grid, cell, this.step)) {
      for (const factor of factors) if (typeof factor !== "string") (found[factor[0]] ??= []).push(factor[1]);
    }
    return found;
  }

  /** The cells of this scene that a cell is a part of, by grid. */
  uses(number, cell) {
    const found = {};
    const isThis = (factor) => typeof factor !== "string" && factor[0] === number && factor[1] === cell;
    for (const { grid, number: other } of this.views.values()) {
      for (const [result, parts] of Object.entries(grid.made[grid.frames ? this.step : 0] ?? {})) {
        if (parts.some(([, ...factors]) => factors.some(isThis))) (found[other] ??= []).push(Number(result));
      }
    }
    return found;
  }

  /** A number is pointed at, or none any more. */
  point(view, cell) {
    for (const each of this.views.values()) each.clear();
    if (view === null) return this.go(this.step);
    const sources = this.sources(view.grid, cell);
    this.mark(Object.keys(sources).length ? sources : this.uses(view.number, cell), "lit");
    view.mark([cell], "pointed");
    this.note.textContent = "The number in the dashed frame:";
    this.describe(view, cell);
  }

  /** A cell of the subject is chosen: the step that is about it. */
  choose(view, cell) {
    if (view.number !== this.about.subject) return;
    const step = this.about.steps.findIndex((one) => one.cells.includes(cell));
    if (step >= 0) this.stop(step);
  }

  /** Say what a number is made of, and what finite differences make of it. */
  describe(view, cell) {
    const { grid } = view;
    const value = frame(grid, this.step)[cell];
    const lines = [this.equation(grid, cell, value)];
    if (grid.differences) {
      const measured = grid.differences[grid.frames ? this.step : 0][cell].toFixed(6).replace("-", "−");
      lines.push(make("p", { class: "differences" }, `By finite differences: ${measured}. Over all of this grid, `,
        `backward and differences are at most ${grid.apart} apart.`));
    } else if (!partsOf(grid, cell, this.step).length && !isOutside(grid, cell)) {
      const uses = Object.entries(this.uses(view.number, cell));
      const all = uses.flatMap(([number, cells]) => cells.map((one) => label(data.grids[number], one)));
      const names = [...new Set(all)]; // one number may stand in two grids
      if (names.length) {
        const more = names.length > PARTS ? ` and ${names.length - PARTS} more` : "";
        lines.push(make("p", {}, `It is a part of ${names.slice(0, PARTS).join(", ")}${more}.`));
      }
    }
    this.formula.replaceChildren(...lines);
  }

  equation(grid, cell, value) {
    const parts = partsOf(grid, cell, this.step);
    const line = make("p", { class: "terms" }, make("b", {}, label(grid, cell)), " = ");
    if (grid.texts?.[cell]) line.append(`${grid.texts[cell]} = `);
    if (grid.how && parts.length) {
      const shown = parts.slice(0, PARTS);
      const sign = grid.how === "max" ? "," : "+";
      if (grid.how === "max") line.append("the largest of");
      shown.forEach((part, number) => line.append(...(number ? [sign] : []), this.part(part, sign === "," || shown.length + part.length === 3)));
      if (parts.length > shown.length) line.append(`… and ${parts.length - shown.length} more`);
      line.append(" = ");
    }
    line.append(make("span", { class: "result" }, isOutside(grid, cell) && grid.outside ? grid.outside : show(value, 6)));
    return line;
  }

  /** One part of a number: its factors, with their names below; where none stands before it, without brackets. */
  part([value, ...factors], listed) {
    const numbers = [];
    const names = [];
    for (const factor of factors) {
      const grid = typeof factor === "string" ? null : data.grids[factor[0]];
      if (grid) names.push(label(grid, factor[1]));
      const text = grid ? show(frame(grid, this.step)[factor[1]], 4) : factor;
      numbers.push(grid && !listed ? bracketed(text) : text);
    }
    const sum = factors.length > 1 ? ` = ${show(value, 4)}` : "";
    const box = make("span", { class: "term" }, numbers.join(" · ") + sum);
    if (names.length) box.append(make("small", {}, names.join(" · ")));
    return box;
  }
}

// ---------------------------------------------------------------------------------------------- the page

function head() {
  const key = (kind, text) => make("span", { class: `key ${kind}` }, text);
  const facts = make("dl", { class: "facts" },
    ...data.facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  const by = data.kernels.length ? `by ${data.kernels.join(", ")} ` : "";
  const singled = data.scenes.some((scene) => scene.steps.some((step) => step.chosen));
  const contents = make("ol", {}, ...data.scenes.map((scene) =>
    make("li", {}, make("a", { href: `#${scene.key}` }, scene.title))));
  return make("header", {},
    make("div", { class: "top" }, make("h1", {}, data.title), themeButton()),
    make("p", {}, data.words),
    make("div", { class: "equation" }, data.equations.join("\n")),
    make("div", { class: "overview" }, facts, make("nav", { "aria-label": "contents" }, contents),
      make("p", { class: "hint" }, "Point at any number, or walk to it with Tab and the arrow keys: below the grids is what "
      + "it is made of, and for a derivative the same by finite differences. Where the bold frame is, another number can "
      + "be chosen: click on it, or press Enter. On the player, arrow keys step, Home and End go to the ends, and the "
      + "space bar plays."),
      make("div", {},
        make("p", { class: "hint" }, key("positive", "Orange"), " is positive and ", key("negative", "−blue"),
          " negative, stronger where larger. What takes part in a step is ", key("lit", "framed"),
          ...(singled ? [", the winner, or the number's own place, ", key("chosen", "doubly")] : []),
          "; what it is about has a ", key("now", "bold frame"), "."),
        make("p", { class: "made-by" }, `Made by: ${data.command}. Computed ${by}in float64.`))));
}

const scenes = data.scenes.map((scene) => new Scene(scene));
document.body.append(head(), make("main", {}, ...scenes.map((scene) => scene.section)));
for (const scene of scenes) scene.go(0);
