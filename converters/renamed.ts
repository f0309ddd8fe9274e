/** Models that are built like LLaMA or Mistral and published with a class of their own. */
import type { Architecture } from './architecture.ts';
import type { Family } from './config/decoder-config.ts';
import { decoderArchitecture } from './decoder.ts';

export interface Renamed extends Pick<Architecture, 'modelType' | 'className'> {
  /** How it is built, by the names that hosts know. */
  readonly family: Family;
  /** Tensors that the model does without, and a sentence that says so. */
  readonly leavesOut?: { readonly tensors: RegExp; readonly note: string };
}

/** An architecture that hosts take for the one that it is built like: they read sizes from config.json, and no more. */
export function renamed({ family, leavesOut, ...names }: Renamed): Architecture {
  const model = decoderArchitecture(family);
  const isRead = (name: string) => leavesOut?.tensors.test(name) !== true;
  return {
    ...names,
    open: (checkpoint, options) => {
      const tensors = new Map([...checkpoint.tensors].filter(([name]) => isRead(name)));
      const pieces = model.open({ ...checkpoint, tensors }, options);
      const isWhole = leavesOut === undefined || tensors.size === checkpoint.tensors.size;
      return isWhole ? pieces : { ...pieces, notes: [leavesOut.note] };
    },
    layout: (checkpoint) => model.layout(checkpoint),
    problems: (checkpoint, unread) => {
      const tensors = new Map([...checkpoint.tensors].filter(([name]) => isRead(name)));
      return model.problems({ ...checkpoint, tensors }, unread);
    },
    hostConfig: ({ auto_map: _, ...config }) => ({
      ...family.defaults,
      ...config,
      model_type: family.modelType,
      architectures: [family.className],
    }),
  };
}
