/* Shows one layer of a <bb-explorer> at a time. Without this script all layers are visible. */
(() => {
  if (customElements.get("bb-explorer")) return;

  class BitbybitExplorer extends HTMLElement {
    connectedCallback() {
      if (this.listener) window.addEventListener("hashchange", this.listener);
      else if (document.readyState !== "loading") this.start();
      else document.addEventListener("DOMContentLoaded", () => this.start(), { once: true });
    }

    start() {
      if (this.sections) return;
      this.sections = [...this.querySelectorAll("section[data-layer]")];
      this.links = [...this.querySelectorAll("nav a[data-layer]")];
      if (this.sections.length === 0) return;
      this.select = this.control();
      this.addEventListener("click", (event) => this.clicked(event));
      this.addEventListener("keydown", (event) => this.pressed(event));
      this.listener = () => this.fromHash();
      window.addEventListener("hashchange", this.listener);
      this.classList.add("bb-live");
      const first = this.sections.find((s) => s.dataset.layer === this.dataset.start);
      if (!this.fromHash()) this.show((first || this.sections[0]).dataset.layer);
    }

    disconnectedCallback() {
      window.removeEventListener("hashchange", this.listener);
    }

    control() {
      const bar = document.createElement("p");
      bar.className = "bb-control";
      const label = document.createElement("label");
      label.textContent = "Layer ";
      const select = document.createElement("select");
      for (const section of this.sections) {
        select.add(new Option(section.dataset.title, section.dataset.layer));
      }
      select.addEventListener("change", () => this.show(select.value, true));
      label.append(select);
      this.buttons = [this.button("Previous", -1), this.button("Next", 1)];
      bar.append(label, ...this.buttons);
      this.querySelector("nav").after(bar);
      return select;
    }

    button(text, step) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => this.step(step));
      return button;
    }

    step(by) {
      const last = this.sections.length - 1;
      const at = Math.min(last, Math.max(0, this.select.selectedIndex + by));
      this.show(this.sections[at].dataset.layer, true);
    }

    pressed(event) {
      const all = this.sections.length;
      const by = { ArrowLeft: -1, ArrowRight: 1, Home: -all, End: all }[event.key];
      if (!by || !event.target.closest("nav a[data-layer]")) return;
      event.preventDefault();
      this.step(by);
      this.links[this.select.selectedIndex].focus();
    }

    clicked(event) {
      const link = event.target.closest("nav a[data-layer]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.show(link.dataset.layer, true);
    }

    fromHash() {
      let id = location.hash.slice(1);
      try { id = decodeURIComponent(id); } catch { return false; }
      const section = this.sections.find((s) => s.id === id);
      if (section) {
        this.show(section.dataset.layer);
        requestAnimationFrame(() => this.scrollIntoView());  // with the strip, not below it
      }
      return Boolean(section);
    }

    show(name, remember = false) {
      for (const section of this.sections) section.hidden = section.dataset.layer !== name;
      this.select.value = name;
      const at = this.select.selectedIndex;
      this.buttons[0].ariaDisabled = String(at === 0);
      this.buttons[1].ariaDisabled = String(at === this.sections.length - 1);
      for (const link of this.links) {
        link.setAttribute("tabindex", link.dataset.layer === name ? "0" : "-1");
        if (link.dataset.layer === name) {
          link.setAttribute("aria-current", "true");
          this.reveal(link);
        } else {
          link.removeAttribute("aria-current");
        }
      }
      const section = this.sections.find((s) => s.dataset.layer === name);
      if (remember) history.replaceState(history.state, "", "#" + encodeURIComponent(section.id));
    }

    reveal(link) {
      const frame = link.closest(".bb-frame");
      if (!frame) return;
      const box = link.getBoundingClientRect();
      const view = frame.getBoundingClientRect();
      if (box.left < view.left || box.right > view.right) {
        frame.scrollLeft += box.left - view.left - (view.width - box.width) / 2;
      }
    }
  }

  customElements.define("bb-explorer", BitbybitExplorer);
})();
