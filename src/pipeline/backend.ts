/** The native core as a backend of onnxruntime-common, with the facts that it needs about a model. */
import type { Backend } from 'onnxruntime-node';
import { readOnnx } from '../../formats/onnx/index.ts';
import { LacunaError } from '../core/errors.ts';
import type { Body, Node } from '../core/graph.ts';
import { inputOf, operatorOf, outputOf } from '../ops/index.ts';
import { type CachePorts, createBackend, type TensorClass } from '../runtime/index.ts';
import { findNativeFiles } from './engine/engine.ts';
import { nativePath } from './engine/native-library.ts';

/** A backend for the onnxruntime-common that these tensors belong to. */
export function nativeBackend(tensors: TensorClass, nativeFolder?: string | URL): Backend {
  const files = async () => {
    const found = await findNativeFiles(nativeFolder);
    if (found !== undefined) return found;
    throw new LacunaError('not-found', `The native core is not in ${nativePath(nativeFolder)}`, {
      hint: 'In a clone, build it with `npm run build:native`; `lacuna doctor` says more.',
    });
  };
  return createBackend({ tensors, files, findCaches });
}

/** Files that are not ONNX, or models that our reader does not know, have no known caches. */
function findCaches(model: string): Promise<readonly CachePorts[]> {
  return readOnnx(model)
    .then(cachesInPlace)
    .catch(() => []);
}

const PAST = /^past_key_values\.(\d+\.(?:key|value))$/;
/** Whether a node appends to a cache in place, so that its past and present are one buffer. */
function appends(node: Node, { past, present }: CachePorts): boolean {
  if (operatorOf(node) === 'NormAttention')
    return (['key', 'value'] as const).some(
      (which) =>
        inputOf('NormAttention', node, `past_${which}`) === past &&
        outputOf('NormAttention', node, `present_${which}`) === present,
    );
  const { opType, inputs, outputs } = node;
  // Inputs 3 and 4, outputs 1 and 2 of GroupQueryAttention.
  return opType === 'GroupQueryAttention' && [3, 4].some((at) => inputs[at] === past && outputs[at - 2] === present);
}

/** The caches, if only such operators use them, so that their shapes mean nothing but capacity; else none. */
function cachesInPlace({ inputs, outputs, nodes }: Body): readonly CachePorts[] {
  const caches = inputs.flatMap(({ name }) => {
    const [, which] = PAST.exec(name) ?? [];
    return which === undefined ? [] : [{ past: name, present: `present.${which}` }];
  });
  const names = new Set(outputs.map(({ name }) => name));
  const isInPlace = (ports: CachePorts) => {
    const { past, present } = ports;
    const [user, ...others] = nodes.filter((node) => uses(node, past));
    return (
      names.has(present) &&
      user !== undefined &&
      others.length === 0 &&
      user.inputs.filter((name) => name === past).length === 1 &&
      appends(user, ports)
    );
  };
  return caches.every(isInPlace) ? caches : [];
}

function uses({ inputs, attributes }: Node, value: string): boolean {
  const inBody = Object.values(attributes).some(
    (attribute) => attribute.kind === 'graph' && attribute.value.nodes.some((node) => uses(node, value)),
  );
  return inBody || inputs.includes(value);
}
