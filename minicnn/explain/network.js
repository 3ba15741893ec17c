// Draws a network: its answer, one step of training, and the tree of its modules. A module's content is made
// when it is opened. Nothing is computed here but colours: every number was put into the data.

const DIGITS = 4;
const count = (number) => number.toLocaleString("en");
const shape = (sizes) => sizes.join("×");

/** A number with four digits; very small ones with a power of ten. */
function number(value) {
  if (value === null) return "not finite";
  const small = value !== 0 && Math.abs(value) < 1e-3;
  return small ? value.toExponential(DIGITS - 1).replaceAll("-", "−") : show(value, DIGITS);
}

/** A probability or share, which claims no certainty that there is not. */
function percent(p) {
  if (p === null) return "not finite";
  return p < 1 && p > 0.9995 ? ">99.9 %" : p > 0 && p < 0.0005 ? "<0.1 %" : `${(100 * p).toFixed(1)} %`;
}

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

// ------------------------------------------------------------------------------------------------ pictures

/** The canvas of an image in grey or colours. */
function photograph({ size: [H, W], grey, pixels }, name = "the image, as the network sees it") {
  const canvas = make("canvas", { width: W, height: H, role: "img", "aria-label": name });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(W, H);
  const values = bytes(pixels);
  for (let k = 0; k < H * W; k++) {
    const rgb = grey ? [values[k], values[k], values[k]] : values.subarray(3 * k, 3 * k + 3);
    picture.data.set([...rgb, 255], 4 * k);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** The canvas of signed bytes: orange above 0, blue below, and the paper's colour at 0. */
function drawn(text, [H, W], name) {
  const canvas = make("canvas", { width: W, height: H, role: "img", "aria-label": name });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(W, H);
  const values = new Int8Array(bytes(text).buffer);
  values.forEach((value, k) => {
    picture.data.set([...(value > 0 ? [230, 140, 0] : [0, 114, 178]), 2 * Math.abs(value)], 4 * k);
  });
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** The image with a frame around a box of it. */
function seen([top, bottom, left, right]) {
  const [, H, W] = data.input;
  const side = (part, whole) => `${(100 * part) / whole}%`;
  const frame = make("div", { class: "field" });
  const style = { top: side(top, H), height: side(bottom - top, H), left: side(left, W), width: side(right - left, W) };
  Object.assign(frame.style, style);
  return make("figure", { class: "picture" }, photograph(data.picture), frame);
}

/** What the answer rests on: a map laid over the image, or gradients as a picture of their own. */
function view(about) {
  const figure = make("figure", { class: "picture" });
  if (about.picture) figure.append(photograph(about.picture, about.title));
  else {
    const over = drawn(about.map, about.size, about.title);
    over.className = "over";
    figure.append(make("div", { class: "under" }, photograph(data.picture), over));
  }
  figure.append(make("figcaption", {}, make("b", {}, about.title), `: ${about.words}`));
  return figure;
}

/** A table; a cell that is an element is put in as it is. It scrolls by itself where it is too wide. */
function table(caption, heads, rows, marked = () => false) {
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  const body = rows.map((cells) => {
    const made = line("td", cells);
    if (marked(cells)) made.className = "right";
    return made;
  });
  const whole = make("table", { class: "plain" }, make("caption", {}, caption),
    make("thead", {}, line("th", heads)), make("tbody", {}, ...body));
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption }, whole);
}

// ------------------------------------------------------------------------------------------------ one unit

/** What a unit is made of, and what its gradient sends on. */
function unit(about, call) {
  const at = `[${about.at.join(", ")}]`;
  const [top, bottom, left, right] = about.box;
  const words = make("div", {},
    make("p", {}, make("b", {}, `y${at} = ${number(about.y)}`), `, and ∂loss/∂y${at} = gy = ${number(about.gy)}.`),
    make("p", {}, bottom > top
      ? `Receptive field: at most rows ${top} to ${bottom - 1} and columns ${left} to ${right - 1} of the image, `
        + `${bottom - top}×${right - left} pixels, framed in it.`
      : "It does not depend on the image."));
  if (about.count) words.append(...terms(about, at));
  else words.append(make("p", { class: "hint" }, call.x === null || call.inner
    ? "The layers inside this module say what it is made of." : "No input changes this unit: its derivatives are all 0."));
  return make("div", { class: "unit", role: "status" }, seen(about.box), words);
}

function terms(about, at) {
  const filter = about.gw !== null;
  const weight = filter ? "w" : "∂y/∂x";
  const rest = about.count - about.places.length;
  const parts = [about.places.length === 1 ? "the product below" : `the ${about.places.length} products below`];
  if (rest) parts.push(`${number(about.others)} from ${count(rest)} more`);
  if (about.constant) parts.push(`${number(about.constant)}, ${filter ? "the bias" : "what does not come as a product: a shift, or a curve"}`);
  const made = parts.length === 1 && about.places.length === 1 ? parts[0] : `the sum of ${parts.join(", and of ")}`;
  const heads = ["input", "x", weight, `x · ${weight}`, `sent to x: gy · ${weight}`, ...(filter ? ["sent to w: gy · x"] : [])];
  const rows = about.places.map((place, k) => [
    `x[${place.join(", ")}]`, number(about.x[k]), number(about.d[k]), number(about.xd[k]), number(about.sent[k]),
    ...(filter ? [number(about.gw[k])] : [])]);
  const inputs = about.count === 1 ? "1 input" : `${count(about.count)} inputs`;
  return [
    make("p", {}, `Forward: ${inputs}; y${at} is ${made}. Backward: what it sends to ${about.count === 1 ? "it" : "each"}.`),
    table(rest ? `the ${about.places.length} inputs with the largest products` : "all of its inputs", heads, rows)];
}

// ------------------------------------------------------------------------------------------------- a layer

const STATISTICS = ["", "mean", "deviation", "zeros", "least", "largest"];

function statistics(call) {
  const row = (name, values) => [name, number(values[0]), number(values[1]), percent(values[2]), number(values[3]), number(values[4])];
  const rows = [row("activations y", call.activations)];
  if (call.gradients) rows.push(row("gradients gy", call.gradients));
  return table(`${call.x ? `x ${shape(call.x)} → ` : ""}y ${shape(call.y)}`, STATISTICS, rows);
}

/** The filters of a convolution, a row of input channels for each. */
function filters({ size, of: [OC, C, shown], pixels }) {
  const each = pixels.map((channels, oc) => make("span", {},
    ...channels.map((one, c) => drawn(one, size, `filter ${oc}, channel ${c}`))));
  const some = shown < C ? `; of each, channels 0 to ${shown - 1} of ${C}` : C > 1 ? `, each with its ${C} channels` : "";
  const which = pixels.length === OC ? `all ${OC}` : `0 to ${pixels.length - 1} of ${OC}`;
  return [make("h4", {}, `Filters: ${which}${some}`), make("div", { class: "filters" }, ...each)];
}

/** A ring around the place of a unit in its map. */
function mark({ at: [, row, column] }, { y: [, H, W] }) {
  const ring = make("i", {});
  Object.assign(ring.style, { top: `${(100 * (row + 0.5)) / H}%`, left: `${(100 * (column + 0.5)) / W}%` });
  return ring;
}

/** The maps of a call as buttons; each opens its strongest unit. */
function maps(call) {
  const place = make("div");
  const buttons = call.units.map((about) => {
    const c = about.at[0];
    const name = call.maps ? `map ${c}` : `${c}: ${number(about.y)}`;
    const button = make("button", { type: "button", class: "map", "aria-pressed": "false", "aria-label": `unit ${about.at.join(", ")}` });
    if (call.maps) button.append(make("span", {}, drawn(call.maps[c], call.size, `feature map ${c}`), mark(about, call)));
    if (call.gmaps) button.append(drawn(call.gmaps[c], call.size, `gradient of map ${c}`));
    button.append(name);
    button.addEventListener("click", () => {
      const again = button.getAttribute("aria-pressed") === "true";
      for (const other of buttons) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(!again));
      place.replaceChildren(...(again ? [] : [unit(about, call)]));
      if (!again) place.scrollIntoView({ block: "nearest" });
    });
    return button;
  });
  if (!buttons.length) return [];
  const shown = buttons.length === call.y[0] ? `all ${call.y[0]}` : `${buttons.length} of ${call.y[0]}`;
  const reduced = call.maps && call.size[0] < call.y[1] ? `, drawn as ${shape(call.size)}` : "";
  const title = call.maps
    ? `Feature maps${call.gmaps ? ", and below each its gradient" : ""}: ${shown}${reduced}`
    : `Strongest units: ${shown}`;
  return [make("h4", {}, title), make("div", { class: "maps" }, ...buttons), place];
}

function calls(node) {
  return node.calls.map((call, k) => {
    call.inner = node.children.length > 0;
    const several = node.calls.length > 1 ? [make("h4", {}, `Call ${k + 1} of ${node.calls.length}`)] : [];
    return make("div", { class: "call" }, ...several, statistics(call),
      ...(call.filters ? filters(call.filters) : []), ...maps(call));
  });
}

/** A module that opens on a click or Enter; what is inside is made then. */
function module(node) {
  const last = node.calls.at(-1);
  const small = (text) => make("small", {}, text);
  const summary = make("summary", {}, make("b", {}, node.path.split(".").at(-1)), small(node.kind + (node.about ? `(${node.about})` : "")));
  if (last) summary.append(small(`→ ${shape(last.y)}`));
  else if (node.first === null) summary.append(small("did not run"));
  if (node.parameters) summary.append(small(`${count(node.parameters)} parameters`));
  if (node.macs) summary.append(small(`${count(node.macs)} MACs`));
  const inside = make("div", { class: "inside" });
  const whole = make("details", { class: "module" }, summary, inside);
  whole.addEventListener("toggle", () => {
    if (whole.open && !inside.childNodes.length) inside.append(...node.children.map(module), ...calls(node));
  });
  return whole;
}

// -------------------------------------------------------------------------------------------------- the page

function likeliest(title, rows) {
  return table(title, ["class", "before the step", "after it"],
    rows.map(([name, before, after]) => [name, percent(before), percent(after)]), ([name]) => name === data.label);
}

function step() {
  const { lr, before, after, expected, likeliest: [first, then], right, updates, largest } = data.step;
  const words = before === null || after === null ? "The loss is not finite: the numbers of this network have run away."
    : after < before ? "The loss fell." : after > before ? "The loss rose: this rate is too large for this image."
      : "The loss stayed: the gradients are too small to change it.";
  const section = make("section", { id: "step" }, make("h2", {}, "One step of training"),
    make("p", {}, `Plain SGD on this image alone: w ← w − ${lr} · gw for every parameter. Loss before: ${number(before)}; after: `
      + `${number(after)}. ${words} If the loss were linear, it would have changed by −lr · Σ gw² = ${number(expected)}. `
      + `The probability of ${data.label} went from ${percent(right[0])} to ${percent(right[1])}.`),
    make("div", { class: "answer" }, likeliest("likeliest before the step", first), likeliest("likeliest after it", then)),
    table("the numbers that changed most", ["parameter", "before", "gradient", "after"],
      largest.map(([name, index, ...values]) => [`${name}[${index.join(", ")}]`, ...values.map(number)])));
  const rows = updates.map(([name, size, w, g, change]) => [name, count(size), number(w), number(g), number(change)]);
  const all = make("details", { class: "module" }, make("summary", {}, make("b", {}, "Every parameter"),
    make("small", {}, `${rows.length} of them: weights, gradients and updates`)),
  make("div", { class: "inside" }, table("norms: √ of the sum of squares", ["parameter", "numbers", "‖w‖", "‖gw‖", "‖update‖"], rows)));
  section.append(all);
  return section;
}

function head() {
  const key = (kind, text) => make("span", { class: `key ${kind}` }, text);
  const facts = [["network", `${count(data.layers)} layers, ${count(data.parameters)} parameters, ${count(data.macs)} multiply-accumulates`],
    ["weights", data.weights], ["image", `${shape(data.input)}  (C, H, W)`],
    ["label", data.label + (data.guessed ? ", the network's own first choice, as none was given" : "")]];
  const list = make("dl", { class: "facts" },
    ...facts.filter(([, text]) => text).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  const { maps: shown, side } = data.limits;
  return make("header", {},
    make("div", { class: "top" }, make("h1", {}, data.title), themeButton()),
    make("p", {}, "What each layer makes of this image, and what the loss of the label sends back to it."),
    make("div", { class: "answer" }, make("figure", { class: "picture" }, photograph(data.picture)), list),
    make("p", { class: "hint" }, `Open a module with a click, or with Tab and Enter. Of each layer the first ${shown} maps are shown at most, `
      + `a map of more than ${side} rows or columns as the means of blocks, each with a scale of its own: `,
    key("positive", "orange"), " is positive and ", key("negative", "blue"), " negative, stronger where larger. "
      + "Choose a map, and one of its units is worked out: the one with the ring, which is the largest in absolute value of "
      + "those that a gradient reaches."),
    make("p", { class: "hint" }, "The network is in inference mode throughout: dropout lets everything pass, and batch norm uses its "
      + "running statistics, since one image has no batch to take them from."),
    make("p", { class: "made-by" }, data.command ? `Made by: ${data.command}.` : ""));
}

const network = make("section", { id: "network" }, make("h2", {}, "The network"), ...data.tree.children.map(module),
  ...(data.tree.children.length ? [] : calls(data.tree)));
const rests = make("section", { id: "rests" }, make("h2", {}, "What the answer rests on"),
  make("p", {}, `Which pixels matter to ${data.label}, or, by deconvolution, to one unit: ways to ask, which need not agree. `
    + "Where a map lies over the image, strong orange is where most depends on it."),
  make("div", { class: "views" }, ...data.views.map(view)));
document.body.append(head(), make("main", {}, network, ...(data.views.length ? [rests] : []), step()));
