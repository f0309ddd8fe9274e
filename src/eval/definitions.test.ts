import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DEFINITIONS } from './definitions.ts';

const manual = readFileSync(new URL('../../docs/evaluation.md', import.meta.url), 'utf8');

describe('DEFINITIONS', () => {
  it.each(Object.entries(DEFINITIONS))('%s is in the manual, word for word', (name, definition) => {
    const head = definition.startsWith('mode ') ? '- ' : `**${name}**: `;
    expect(manual).toContain(`\n${head}${definition}\n`);
  });
});
