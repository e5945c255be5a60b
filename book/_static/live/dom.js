// Building elements without markup in strings: nothing that a reader or a file gave is parsed.

/** el("p", {class: "x", onclick: f}, "text", child): functions are listeners, null is left out. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A table with a caption, headings of columns, and rows whose first cell is their heading. */
export function table(caption, headings, rows) {
  const head = el("tr", {}, ...headings.map((text) => el("th", { scope: "col" }, text)));
  const body = rows.map((cells) => (cells instanceof Element ? cells : el("tr", {},
    el("th", { scope: "row" }, cells[0]), ...cells.slice(1).map((cell) => el("td", {}, cell)))));
  return el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, ...body));
}

/** A row of the number grid: a window of codes, weights or products. */
export function grid(caption, rows) {
  return el("table", { class: "bb-grid" }, el("caption", {}, caption), el("tbody", {},
    ...rows.map((cells) => el("tr", {}, ...cells.map(({ text, mark = false }) =>
      el("td", mark ? { class: "bb-padded" } : {}, text))))));
}
