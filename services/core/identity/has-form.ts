/** Whether a value is a text of this form. */
export function hasForm(value: unknown, pattern: RegExp): value is string {
  return typeof value === 'string' && pattern.test(value)
}
