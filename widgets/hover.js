// Shows the value of a curve nearest to the pointer, in charts that have their values (`charts.py`). `live.js` and the
// dashboard's page (`page.py`) begin with it.

function showTip(root, pointer) {
  root.querySelectorAll(".edl-tip").forEach((tip) => tip.remove());
  const under = pointer && document.elementFromPoint(pointer.clientX, pointer.clientY);
  const svg = under?.closest("svg.edl-chart[data-hover]");
  if (!svg || !root.contains(svg)) return;
  const box = svg.getBoundingClientRect();
  const style = getComputedStyle(svg);
  const [left, right] = [parseFloat(style.paddingLeft), parseFloat(style.paddingRight)];
  const at = (pointer.clientX - box.left - left) / (box.width - left - right);
  const points = svg.dataset.hover.split("\n").map((line) => line.split("|")).flatMap(([name, ...rest]) =>
    rest.map((one) => one.split(",")).map(([x, y, step, value]) => (
      { x: x / 999, y: Number(y), text: `step ${Number(step).toLocaleString("en")}: ${name} ${value}` })));
  if (!points.length) return;
  const far = (one) => Math.hypot((one.x - at) * box.width, (one.y - (pointer.clientY - box.top)) / 4);
  const nearest = points.reduce((best, one) => far(one) < far(best) ? one : best);
  const tip = document.createElementNS("http://www.w3.org/2000/svg", "g");
  tip.setAttribute("class", "edl-tip");
  const side = nearest.x > 0.6 ? "end" : "start";
  tip.innerHTML = `<circle cx="${100 * nearest.x}%" cy="${nearest.y}" r="5"></circle>` +
    `<text x="${100 * nearest.x}%" dx="${side === "end" ? -10 : 10}" y="${Math.max(34, nearest.y - 8)}" ` +
    `text-anchor="${side}"></text>`;
  tip.lastChild.textContent = nearest.text;
  svg.append(tip);
}
