import { parseRuns, runsText } from '../../core/layer-runs.ts';
import { PRESET_WORDS } from '../../index.ts';
import type { Asked } from '../question.ts';
import { type Answers, factOf, type State } from '../state.ts';
import { moved } from './setting.ts';

/** Layers that stay dense, or the run of layers that may be skipped, as the preset takes them. */
export const layers: Asked = {
  id: 'layers',
  name: 'the layers',
  needs: ['source'],
  gives: ['denseLayers', 'coldStart', 'coldEnd', 'setting'],
  isOpen: ({ answers }) => answers.setting === 'layers',
  ask: (state) =>
    takesRun(state.answers)
      ? {
          kind: 'text',
          message: 'Layers that may be skipped, as 12-17 (or auto):',
          default: 'auto',
          problem: (given) => runProblem(state, given),
        }
      : {
          kind: 'text',
          message: 'Layers that stay dense, as 0-2,29 (or none):',
          default: denseText(state.answers),
          problem: (given) => denseProblem(state, given),
        },
  answer: (state, given) => {
    const chosen = parseRuns(given);
    if (!takesRun(state.answers)) return moved(state, { denseLayers: chosen });
    if (chosen === undefined) return moved(state, { coldStart: undefined, coldEnd: undefined });
    return moved(state, { coldStart: chosen[0], coldEnd: chosen[chosen.length - 1] + 1 });
  },
};

function takesRun({ goal }: Answers): boolean {
  return 'coldStart' in (PRESET_WORDS.find(({ name }) => name === goal)?.options ?? {});
}

function denseText({ denseLayers = [] }: Answers): string {
  return denseLayers.length === 0 ? 'none' : runsText(denseLayers, ',');
}

function denseProblem(state: State, given: string): string | undefined {
  if (given.trim() === 'none') return undefined;
  const chosen = parseRuns(given);
  if (chosen === undefined) return 'Type layers as 0-2,29, or none.';
  const last = lastLayer(state);
  if (chosen[chosen.length - 1] > last) return `The last layer is ${last}.`;
  return chosen.length > last ? 'A layer has to be left that computes only some of its neurons.' : undefined;
}

function runProblem(state: State, given: string): string | undefined {
  if (given.trim() === 'auto') return undefined;
  const chosen = parseRuns(given);
  const isRun = chosen !== undefined && chosen[chosen.length - 1] - chosen[0] === chosen.length - 1;
  if (!isRun || chosen.length < 2) return 'Type the first and the last layer of a run, as 12-17, or auto.';
  const last = lastLayer(state);
  return chosen[chosen.length - 1] > last ? `The last layer is ${last}.` : undefined;
}

function lastLayer(state: State): number {
  return (factOf(state, 'source')?.layers ?? 1) - 1;
}
