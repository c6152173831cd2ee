/** Settles when the waiting events have been handled: long work calls it in between. */
export function yieldToEvents(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
