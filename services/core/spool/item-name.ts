const NAME = /^0{3}\d{13}-[0-9a-f]{16}$/

/** Whether a text is the name of an item of an outbox. */
export function isItemName(text: string): boolean {
  return NAME.test(text)
}
