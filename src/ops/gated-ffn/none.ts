/** Selector `none`: every neuron of every token, as the dense model has it. */
import { activate } from '../activations.ts';
import type { Selector } from './selection.ts';

export interface NoneSettings {
  readonly kind: 'none';
}

export const none: Selector<NoneSettings> = {
  kind: 'none',
  flags: () => [],
  inputs: [],
  recorded: [],
  gathers: false,
  select: (g, _settings, { activation, project }) => ({
    act: activate(g, activation, project('gate')),
    chosen: undefined,
  }),
};
