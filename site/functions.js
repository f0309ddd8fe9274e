/** For TypeDoc: what `door` makes is a function, although a constant holds it. */
import { Converter, ReflectionKind } from 'typedoc';

export function load({ converter }) {
  converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const reflection of project.getReflectionsByKind(ReflectionKind.Variable)) {
      const signatures = reflection.type?.type === 'reflection' ? reflection.type.declaration.signatures : undefined;
      if (signatures === undefined) continue;
      for (const signature of signatures) {
        signature.name = reflection.name;
        signature.comment = reflection.comment;
        signature.parent = reflection;
      }
      Object.assign(reflection, {
        kind: ReflectionKind.Function,
        signatures,
        type: undefined,
        comment: undefined,
        defaultValue: undefined,
      });
    }
  });
}
