import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DEFINITIONS } from './definitions.ts';

const manual = readFileSync(new URL('../../docs/evaluation.md', import.meta.url), 'utf8');
/** The manual's paragraphs and list items, each as one line. */
const paragraphs = manual.split(/\n(?:\n|(?=- ))/).map((paragraph) => paragraph.trim().replace(/\n\s*/g, ' '));

describe('DEFINITIONS', () => {
  it.each(Object.entries(DEFINITIONS))('%s is in the manual, word for word', (name, definition) => {
    const head = definition.startsWith('mode ') ? '- ' : `**${name}**: `;
    expect(paragraphs).toContain(`${head}${definition}`);
  });
});
