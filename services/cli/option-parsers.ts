import { InvalidArgumentError } from 'commander'
import { oneLine } from '#console/terminal-text.ts'
import { parseSession, type SessionId, sessionId } from '#fleet/session-id.ts'
import { parseDuration } from '#runtime/duration.ts'
import { SETTINGS } from '#runtime/settings.ts'
import { bridgeId } from '#spool/inbox.ts'

/** Parsers of options for commander: they throw errors for a person to read. */

/** What to do about wrong arguments of a command that takes a text: what was meant as that may have been read as an option. */
export const TEXT_BEHIND_DASHES = '  next: add --help to see its arguments; a text that begins with - stands behind --'

/** Milliseconds of `30s`, `5m`, `3h`. */
export function duration(text: string): number {
  try {
    return parseDuration(text)
  } catch {
    throw new InvalidArgumentError('It must be a duration such as 30s, 5m or 3h.')
  }
}

/** Milliseconds, and some. */
export function someTime(text: string): number {
  const ms = duration(text)
  if (ms <= 0) throw new InvalidArgumentError('It must be more than nothing.')
  return ms
}

/** Milliseconds between two redraws, at least 100. */
export function pause(text: string): number {
  const ms = duration(text)
  if (ms < PAUSE_LEAST_MS) throw new InvalidArgumentError(`It must be at least ${PAUSE_LEAST_MS}ms.`)
  return ms
}

const PAUSE_LEAST_MS = 100
const ROLE_MAX = 200

/** Milliseconds that a conversation lives, within what its setting allows. */
export function lifetime(text: string): number {
  try {
    return SETTINGS.S2_LIFETIME.parse(text)
  } catch (error) {
    throw new InvalidArgumentError(`It ${(error as Error).message}; write it like 3h.`)
  }
}

/** The name of an agent, which is also used in file names and tables. */
export function agentName(text: string): string {
  if (/^[A-Za-z0-9][\w.-]{0,99}$/.test(text)) return text
  throw new InvalidArgumentError(
    'It must be at most 100 letters, digits, dots, dashes and underscores, the first a letter or digit.',
  )
}

/** The kind of work that an agent does, in a person's words. */
export function role(text: string): string {
  if (text.trim() !== '' && text.length <= ROLE_MAX && text === oneLine(text)) return text
  throw new InvalidArgumentError(`It must be a line of at most ${ROLE_MAX} characters.`)
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of at most seven digits.')
  return Number(text)
}

/** The number of a message, as its store or the inbox of a host has it; answers its store's. */
export function messageNumber(text: string): number {
  const number = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(number)) throw new InvalidArgumentError('It must be the number of a message.')
  return bridgeId(number)
}

/** A whole number from 1. */
export function count(text: string): number {
  const value = wholeNumber(text)
  if (value < 1) throw new InvalidArgumentError('It must be at least 1.')
  return value
}

/** A whole number from 0 to 100. */
export function percent(text: string): number {
  const value = wholeNumber(text)
  if (value > 100) throw new InvalidArgumentError('It must be at most 100.')
  return value
}

/** A session, as conversation/side. */
export function session(text: string): SessionId {
  try {
    const { conversation, side } = parseSession(text)
    return sessionId(conversation, side)
  } catch {
    throw new InvalidArgumentError('It must be written as conversation/side, for example conv_0123456789abcdef/b.')
  }
}
