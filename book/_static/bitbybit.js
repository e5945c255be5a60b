// What is wider than a narrow screen scrolls in its own frame: reachable by keyboard where, and only
// where, it scrolls, and called like its caption.
(() => {
  const frames = ".bb-frame, .bb-zoom, .bb-formula, pre, div.cell_output, .table";
  const nameOf = (frame) => {
    const figure = frame.closest("figure");
    const caption = figure && figure.querySelector("figcaption, caption");
    const text = caption ? caption.textContent : frame.dataset.scrolls || "wide content";
    return text.trim().split(/[.:] /)[0].slice(0, 80) + ", scrolls sideways";
  };
  const check = (frame) => {
    const scrolls = frame.scrollWidth > frame.clientWidth + 1
      && getComputedStyle(frame).overflowX !== "visible";
    if (scrolls === (frame.dataset.bbScrolls === "")) return;
    if (scrolls) {
      frame.dataset.bbScrolls = "";
      frame.tabIndex = 0;
      frame.setAttribute("role", "group");
      frame.setAttribute("aria-label", nameOf(frame));
    } else {
      delete frame.dataset.bbScrolls;
      for (const name of ["tabindex", "role", "aria-label"]) frame.removeAttribute(name);
    }
  };
  window.addEventListener("load", () => {
    const seen = new ResizeObserver((entries) => entries.forEach((entry) => check(entry.target)));
    for (const frame of document.querySelectorAll(frames)) { check(frame); seen.observe(frame); }
  });
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      details.dataset.bbPrinted = "";
    }
  });
  window.addEventListener("afterprint", () => {
    for (const details of document.querySelectorAll("details[data-bb-printed]")) {
      details.open = false;
      delete details.dataset.bbPrinted;
    }
  });
})();
