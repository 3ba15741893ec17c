"use strict";
// What all pages share: their data, elements, numbers, and the button for colours.

const data = JSON.parse(document.getElementById("data").textContent);

/** An element with attributes and children; text only ever becomes text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A number for a cell, or with more digits for a sentence. */
function show(value, digits = 3) {
  if (value === null) return "−∞";
  let text = String(value);
  if (!Number.isInteger(value)) {
    const large = Math.abs(value) >= 10 ** digits;
    text = large ? value.toFixed(0) : String(Number(value.toPrecision(digits)));
  }
  return text.replaceAll("-", "−");
}

/** A button that goes from the system's colours to light and to dark ones. */
function themeButton() {
  const themes = ["system", "light", "dark"];
  const button = make("button", { type: "button" });
  let now = 0;
  const set = () => {
    if (now) document.documentElement.dataset.theme = themes[now];
    else delete document.documentElement.dataset.theme;
    button.textContent = `Colours: ${themes[now]}`;
  };
  button.addEventListener("click", () => {
    now = (now + 1) % themes.length;
    set();
  });
  set();
  return button;
}

