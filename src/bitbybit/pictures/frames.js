/* What is wider than the screen scrolls in its own frame: reachable by keyboard where, and only
   where, it scrolls, and called like its caption. */
(() => {
  const frames = ".bb-frame, .bb-formula, div.highlight pre, div.cell_output pre, .pst-scrollable-table-container";
  const nameOf = (frame) => {
    const figure = frame.closest("figure");
    const caption = figure && figure.querySelector("figcaption, caption");
    const text = caption ? caption.textContent : frame.dataset.name || "wide content";
    return text.trim().split(/[.:] /)[0].slice(0, 80) + ", scrolls sideways";
  };
  const atEnd = (frame) => frame.toggleAttribute(
    "data-end", frame.scrollLeft + frame.clientWidth >= frame.scrollWidth - 1);
  const check = (frame) => {
    atEnd(frame);
    const scrolls = frame.scrollWidth > frame.clientWidth + 1;
    if (scrolls === (frame.dataset.scrolls === "")) return;
    if (scrolls) {
      frame.dataset.scrolls = "";
      frame.tabIndex = 0;
      frame.setAttribute("role", "group");
      frame.setAttribute("aria-label", nameOf(frame));
    } else {
      for (const name of ["data-scrolls", "tabindex", "role", "aria-label"]) frame.removeAttribute(name);
    }
  };
  const start = () => {
    const seen = new ResizeObserver((entries) => entries.forEach((entry) => check(entry.target)));
    for (const frame of document.querySelectorAll(frames)) {
      frame.addEventListener("scroll", () => atEnd(frame), { passive: true });
      check(frame); // a folded one is not observed before it is opened
      seen.observe(frame);
    }
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
