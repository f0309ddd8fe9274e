/** The option that states how much a sparse model keeps or leaves out: a preset's own, as `keep` of top-k. */
import { TARGETS } from '../core/target.ts';
import { PRESET_WORDS } from '../index.ts';

export interface ShareOption {
  /** Of the preset; its flag has the same name. */
  readonly name: string;
  /** As "share of neurons to keep". */
  readonly description: string;
}

/** Undefined for a goal that is no preset. */
export function shareOptionOf(goal: string | undefined): ShareOption | undefined {
  const words = PRESET_WORDS.find(({ name }) => name === goal);
  if (words === undefined) return undefined;
  const name = TARGETS[words.target.kind].option;
  return { name, description: words.options[name].meta()?.description ?? '' };
}

/** Of all presets, each option once. */
export function shareOptions(): readonly ShareOption[] {
  const all = PRESET_WORDS.flatMap(({ name }) => shareOptionOf(name) ?? []);
  return all.filter(({ name }, at) => all.findIndex((other) => other.name === name) === at);
}
