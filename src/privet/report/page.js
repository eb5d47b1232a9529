(() => {
  "use strict";
  const tip = document.getElementById("tip");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const show = (point, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const at = point.querySelector(".mark").getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 12;
    tip.style.left = left + "px";
    tip.style.top = (above > 8 ? above : at.bottom + 12) + "px";
  };
  const hide = () => { tip.hidden = true; };

  const choose = (id) => {
    const row = document.getElementById(id);
    if (!row) return;
    all("tr.hit").forEach((other) => other.classList.remove("hit"));
    row.classList.add("hit");
    row.scrollIntoView({ block: "center" });
    row.focus({ preventScroll: true });
  };

  for (const point of all("a.pt")) {
    const title = point.querySelector("title");
    const text = title.textContent;
    title.remove();
    point.setAttribute("aria-label", text);
    point.addEventListener("pointerenter", () => show(point, text));
    point.addEventListener("focus", () => show(point, text));
    point.addEventListener("pointerleave", hide);
    point.addEventListener("blur", hide);
    point.addEventListener("click", (event) => { event.preventDefault(); hide(); choose(point.dataset.row); });
  }
  for (const link of all(".heat a")) {
    link.addEventListener("click", (event) => { event.preventDefault(); choose(link.hash.slice(1)); });
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", hide, { passive: true });

  const key = (row, column) => {
    const cell = row.cells[column];
    const told = cell.dataset.v ?? cell.textContent.trim();
    const value = Number(told.replace("inf", "Infinity"));
    return told === "" || Number.isNaN(value) ? told : value;
  };
  for (const button of all("table.sortable .sort")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const table = head.closest("table");
      const numeric = head.classList.contains("n");
      const was = head.getAttribute("aria-sort");
      const down = was ? was === "ascending" : numeric;
      all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      rows.sort((a, b) => order(key(a, head.cellIndex), key(b, head.cellIndex)) * (down ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  }

  const command = document.getElementById("command");
  document.getElementById("copy").addEventListener("click", async (event) => {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "Copied";
      document.getElementById("said").textContent = "The command is copied.";
    } catch {
      getSelection().selectAllChildren(command);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });

  let opened = [];
  addEventListener("beforeprint", () => { opened = all("details:not([open])"); opened.forEach((d) => { d.open = true; }); });
  addEventListener("afterprint", () => opened.forEach((d) => { d.open = false; }));
})();
