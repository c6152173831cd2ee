/** When the events that wait have been dealt with: whoever has much to do lets others do theirs in between. */
export function yieldToEvents(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
