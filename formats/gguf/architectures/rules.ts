/** Rules for tensors of a decoder's blocks. */
import type { TensorRule } from './architecture.ts';

/** Matches a block's tensor. Its number is group 0. */
export function block(part: string, kind: string): RegExp {
  return new RegExp(`^blk\\.(\\d+)\\.${part}\\.${kind}$`);
}

/** A weight and its optional bias. */
export function linear<Fields>(part: string, name: string, undo?: TensorRule<Fields>['undo']): TensorRule<Fields>[] {
  return ['weight', 'bias'].map((kind) => ({
    pattern: block(part, kind),
    name: `model.layers.{0}.${name}.${kind}`,
    ...(undo && { undo }),
  }));
}
