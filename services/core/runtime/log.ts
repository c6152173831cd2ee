import { createLogger, format, transports } from 'winston'
import { priorityMarkFor } from './journal-priority.ts'
import type { Env } from './read-settings.ts'

/** Writes one JSON line per event to standard output, with its priority for journald. */
export interface Log {
  error(event: string, fields?: Fields): void
  warn(event: string, fields?: Fields): void
  info(event: string, fields?: Fields): void
  debug(event: string, fields?: Fields): void
  /** Settles when everything logged so far has left the process. */
  end(): Promise<void>
}

export type Fields = Readonly<Record<string, unknown>>
export type Level = 'error' | 'warn' | 'info' | 'debug'

/** Removes secrets from every line. The rule belongs to the domain, so it is passed in. */
export type Redact = (text: string) => string

export function openLog(program: string, level: Level, redact: Redact, env: Env): Log {
  const mark = priorityMarkFor(1, env)
  process.stdout.on('error', () => undefined) // a closed pipe must not end the program (EPIPE)
  const logger = createLogger({
    level,
    format: format.combine(
      format.timestamp(),
      format.printf((info) => mark(info.level as Level, redact(line(program, info, redact)))),
    ),
    transports: [new transports.Stream({ stream: process.stdout, eol: '\n' })],
  })
  const say =
    (at: Level) =>
    (event: string, fields: Fields = {}) =>
      void logger.log(at, event, { fields })
  return {
    error: say('error'),
    warn: say('warn'),
    info: say('info'),
    debug: say('debug'),
    // winston's `finish` comes before the pipe has taken the last lines; an empty write waits for them
    end: () =>
      new Promise((resolve) => {
        logger.on('finish', () => void process.stdout.write('', () => resolve()))
        logger.end()
      }),
  }
}

function line(program: string, info: Record<string, unknown>, redact: Redact): string {
  const { timestamp, level, message, fields } = info as {
    timestamp: string
    level: string
    message: string
    fields?: Fields
  }
  const head = { at: timestamp, level, program, event: message }
  // each text before JSON escapes what stands around a secret, and the line for what only the name of a field gives away
  const clean = (key: string, value: unknown): unknown => {
    const known = plainErrors(key, value)
    return typeof known === 'string' ? redact(known) : known
  }
  return JSON.stringify({ ...head, ...fields, ...head }, clean) // no field replaces these four
}

/** Errors have no enumerable fields, so plain JSON would lose them. */
function plainErrors(_key: string, value: unknown): unknown {
  if (value instanceof Error) {
    const code = 'code' in value ? { code: value.code } : {}
    return { name: value.name, message: value.message, ...code, cause: value.cause, stack: value.stack }
  }
  return typeof value === 'bigint' ? String(value) : value
}

/** A logged event, kept for tests and simulations. */
export interface Said {
  readonly level: Level
  readonly event: string
  readonly fields: Fields
}

export function recordingLog(onEvent: (record: Said) => void = () => undefined): Log & { readonly records: Said[] } {
  const records: Said[] = []
  const say =
    (level: Level) =>
    (event: string, fields: Fields = {}) => {
      const record = { level, event, fields }
      records.push(record)
      onEvent(record)
    }
  return {
    records,
    error: say('error'),
    warn: say('warn'),
    info: say('info'),
    debug: say('debug'),
    end: async () => undefined,
  }
}
