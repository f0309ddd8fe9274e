import { describe, expect, it } from 'vitest';
import { SILENT } from '../../core/progress.ts';
import { type FittedModel, noteFittedTexts } from './windows.ts';

const text = (name: string) => ({ name, sha256: name.repeat(8), tokens: 8192 });

function notesOn(model: FittedModel, ...names: string[]): string[] {
  const notes: string[] = [];
  noteFittedTexts(model, names.map(text), { ...SILENT, note: (line) => notes.push(line) });
  return notes;
}

describe('noteFittedTexts', () => {
  it.each([
    ['weights were rounded by', { model: { calibratedOn: [text('fit')] }, manifest: { plan: null } }],
    ['a plan was made from', { model: {}, manifest: { plan: { texts: [text('fit')] } } }],
  ])('names each text that %s, and no other', (_, model) => {
    expect(notesOn(model, 'test', 'fit')).toEqual([expect.stringMatching(/fitted to fit:/)]);
    expect(notesOn(model, 'test')).toEqual([]);
  });

  it('says nothing of models of which it is not known', () => {
    expect(notesOn({ model: {}, manifest: { plan: {} } }, 'fit')).toEqual([]);
  });
});
