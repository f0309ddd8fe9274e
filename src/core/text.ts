/** Text from bytes, and from whatever was thrown. */

/** The text of UTF-8; of bytes that are none it throws what `refuse` makes of the cause. */
export function decodeUtf8(
  bytes: Uint8Array,
  refuse: (cause: unknown) => Error,
  options: { readonly ignoreBOM?: boolean } = {},
): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ...options }).decode(bytes);
  } catch (cause) {
    throw refuse(cause);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
