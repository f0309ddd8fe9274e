/** Runs inside a page, as text: what a reader would see to be broken. It uses nothing from outside of itself. */

/* The page's own names: this project is compiled for Node, which has none of them. */
// biome-ignore lint/suspicious/noExplicitAny: see above.
declare const document: any;
// biome-ignore lint/suspicious/noExplicitAny: see above.
declare const getComputedStyle: any;

export function lookOf() {
  interface Box {
    readonly text: string;
    readonly left: number;
    readonly right: number;
    readonly top: number;
    readonly bottom: number;
  }
  // biome-ignore lint/suspicious/noExplicitAny: elements.
  type Node = any;

  const boxOf = (node: Node): Box => {
    const { left, right, top, bottom } = node.getBoundingClientRect();
    return { text: node.textContent, left, right, top, bottom };
  };
  /** A pixel is what rounding may take. */
  const meet = (one: Box, other: Box) =>
    Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1 &&
    Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 1;
  const pairs = (boxes: readonly Box[]) =>
    boxes.flatMap((one, at) =>
      boxes.slice(at + 1).flatMap((other) => (meet(one, other) ? [`${one.text} | ${other.text}`] : [])),
    );
  const all = (selector: string): Node[] => [...document.querySelectorAll(selector)];
  const drawings = all('.chart > svg');
  const textsOf = (svg: Node): Node[] => [...svg.querySelectorAll('text')];

  // Blocks of the page, and letters of each chart.
  const blocks = [...all('header > *'), ...all('section > *'), ...all('footer > *')].map(boxOf);
  const overlapping = [...pairs(blocks), ...drawings.flatMap((svg) => pairs(textsOf(svg).map(boxOf)))];

  const page = document.documentElement.clientWidth;
  const outside = drawings.flatMap((svg) =>
    textsOf(svg)
      .map(boxOf)
      .filter(({ left, right }) => left < 0 || right > page)
      .map(({ text }) => text),
  );

  const sizeOf = (svg: Node) => {
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return textsOf(svg).map((text) => scale * Number.parseFloat(getComputedStyle(text).fontSize));
  };

  /** Relative luminance, as WCAG defines it. */
  const luminance = (colour: string) => {
    const [red, green, blue] = (colour.match(/[\d.]+/g) ?? []).map((part) => {
      const share = Number(part) / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const background = luminance(getComputedStyle(document.body).backgroundColor);
  const contrast = (colour: string) => {
    const one = luminance(colour);
    return (Math.max(one, background) + 0.05) / (Math.min(one, background) + 0.05);
  };
  // 4.5 is what WCAG asks of letters of this size.
  const faint = [
    ...all('h1, h2, p, li, dt, dd, td, th, summary, figcaption, a')
      .filter(
        (node) => node.closest('.sample') === null && getComputedStyle(node).backgroundColor === 'rgba(0, 0, 0, 0)',
      )
      .map((node) => [node.textContent, getComputedStyle(node).color]),
    ...drawings.flatMap(textsOf).map((node) => [node.textContent, getComputedStyle(node).fill]),
  ].flatMap(([text, colour]) => (contrast(colour) < 4.5 ? [`${text} ${colour}`] : []));

  return {
    width: document.documentElement.scrollWidth as number,
    isDark: background < 0.2,
    texts: all('h1, h2, p, li, dt, dd, td, text').length,
    smallest: Math.min(99, ...drawings.flatMap(sizeOf)),
    overlapping,
    outside,
    faint: [...new Set(faint)],
  };
}
