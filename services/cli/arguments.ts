import { InvalidArgumentError } from 'commander'
import { parseDuration } from '#runtime/settings.ts'

/** Readers of options, as commander calls them: they throw what a person reads. */

/** Milliseconds of `30s`, `5m`, `3h`. */
export function duration(text: string): number {
  try {
    return parseDuration(text)
  } catch {
    throw new InvalidArgumentError('It must be a duration such as 30s, 5m or 3h.')
  }
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}

/** How many of something: one at least. */
export function count(text: string): number {
  const value = wholeNumber(text)
  if (value < 1) throw new InvalidArgumentError('It must be at least 1.')
  return value
}
