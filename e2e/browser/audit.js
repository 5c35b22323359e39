// Returns what is wrong with a page for people who do not see it well, or use the keyboard only.
(() => {
  const wrong = [];
  const name = (e) => `<${e.tagName.toLowerCase()} ${e.id || e.className.baseVal || e.className || ""}> "${e.textContent.trim().slice(0, 40)}"`;
  const shown = (e) => e.checkVisibility() && e.getClientRects().length > 0;

  // Contrast of text, WCAG 2.2, 1.4.3: 4.5 to 1.
  const parse = (color) => {
    const m = color.match(/[\d.]+/g).map(Number);
    return { rgb: m.slice(0, 3), a: m.length > 3 ? m[3] : 1 };
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    if (e instanceof SVGTextElement) {
      const box = e.parentNode.querySelector("rect");
      return parse(getComputedStyle(box).fill).rgb;
    }
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.a === 1) return c.rgb;
      if (c.a > 0) wrong.push(`a ground that is half transparent: ${name(e)}`);
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let checked = 0;
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !shown(e) || e.tagName === "TITLE") continue;
    const style = getComputedStyle(e);
    const color = parse(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(color.rgb), luminance(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    checked++;
    if (ratio < 4.5 || color.a < 1) wrong.push(`contrast ${ratio.toFixed(2)}: ${name(e)}`);
  }
  if (checked < 5) wrong.push(`only ${checked} texts`);

  // Names, and structure.
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!e.labels?.length) wrong.push(`no label: ${name(e)}`);
  for (const e of document.querySelectorAll("a, button, legend, th, h1, h2"))
    if (!e.textContent.trim()) wrong.push(`no text: ${name(e)}`);
  for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) wrong.push(`no alt: ${e.src}`);
  for (const e of document.querySelectorAll("svg"))
    if (e.getAttribute("role") !== "img" || !e.getAttribute("aria-label")) wrong.push(`no name: ${name(e)}`);
  for (const e of document.querySelectorAll("th")) if (!e.scope) wrong.push(`no scope: ${name(e)}`);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.filter((other) => other === id).length > 1) wrong.push(`id twice: ${id}`);
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  if (!document.documentElement.lang) wrong.push("no language");
  if (!document.title) wrong.push("no title");
  if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");

  // Nothing is wider than the window, or too small to be touched (2.5.8: 24 pixels).
  if (document.documentElement.scrollWidth > innerWidth)
    wrong.push(`${document.documentElement.scrollWidth} pixels wide in a window of ${innerWidth}`);
  for (const e of document.querySelectorAll("button, .button, nav a, input:not([type=hidden], [type=radio])")) {
    const box = e.getBoundingClientRect();
    if (shown(e) && (box.height < 24 || box.width < 24)) wrong.push(`${box.width} x ${box.height}: ${name(e)}`);
    if (shown(e) && (box.left < 0 || box.right > innerWidth)) wrong.push(`outside of the window: ${name(e)}`);
  }
  return wrong;
})()
