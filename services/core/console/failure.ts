import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import { plain } from './terminal-text.ts'

/** Exit codes, sysexits(3). Services have the same ones, in a module that is not loaded here because start-up time counts. */
export const EXIT = { done: 0, failed: 1, usage: 64, unavailable: 69, refused: 77, config: 78 } as const
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** Wrong arguments: exit code 64. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly next: string | undefined

  constructor(message: string, next?: string) {
    super(message)
    this.next = next
  }
}

/** What the command needs to do its work is not there: exit code 69. */
export class UnavailableError extends Error {
  override readonly name = 'UnavailableError'
  readonly next: string | undefined

  constructor(message: string, next?: string) {
    super(message)
    this.next = next
  }
}

/** Ends a command with an exit code and without a message: it has printed all there is. */
export class Exit extends Error {
  override readonly name = 'Exit'
  readonly code: ExitCode

  constructor(code: ExitCode) {
    super(`exit code ${code}`)
    this.code = code
  }
}

/** An error as a command prints it: what failed, and what to do next. */
export interface Failure {
  readonly exit: ExitCode
  readonly code: string
  readonly message: string
  readonly next: string | undefined
}

export function failureOf(error: unknown): Failure {
  if (error instanceof S2Error) return { exit: EXIT.failed, code: error.code, ...redacted(error.message, error.next) }
  if (error instanceof UsageError) return { exit: EXIT.usage, code: 'usage', ...redacted(error.message, error.next) }
  if (error instanceof UnavailableError) {
    return { exit: EXIT.unavailable, code: 'unavailable', ...redacted(error.message, error.next) }
  }
  // The name is compared, because only commands that read settings load the module of this class.
  if (error instanceof Error && error.name === 'ConfigError') {
    return { exit: EXIT.config, code: 'configuration', ...redacted(error.message, undefined) }
  }
  const why = error instanceof Error ? error.message : String(error)
  return diskFailure(error) ?? { exit: EXIT.failed, code: 'internal', ...redacted(why, undefined) }
}

/** An error of the file system, with what to do; null for every other error. */
function diskFailure(error: unknown): Failure | null {
  const { code = '', path } = error as NodeJS.ErrnoException
  if (!(error instanceof Error) || path === undefined) return null
  if (/^(EACCES|EPERM|EROFS)$/.test(code)) {
    const next = 'use another folder (S2_STATE), or make this one yours (chown)'
    return {
      exit: EXIT.failed,
      code: 'forbidden',
      ...redacted(`this user may not use ${path} (${error.message})`, next),
    }
  }
  if (/^(ENOSPC|EDQUOT)$/.test(code)) {
    return {
      exit: EXIT.failed,
      code: 'unavailable',
      ...redacted(`the disk that holds ${path} is full`, 'make room on it'),
    }
  }
  if (/^(EEXIST|ENOTDIR|EISDIR)$/.test(code)) {
    const next = 'move that away, or name another place'
    return {
      exit: EXIT.failed,
      code: 'conflict',
      ...redacted(`something is in the way at ${path} (${error.message})`, next),
    }
  }
  return null
}

function redacted(message: string, next: string | undefined): { message: string; next: string | undefined } {
  return { message: redact(message), next: next === undefined ? undefined : redact(next) }
}

export function formatFailure(failure: Failure, json: boolean): string {
  const { code, message, next } = failure
  if (json) return `${JSON.stringify({ error: { code, message, next } })}\n`
  return `s2: ${plain(message)}\n${next === undefined ? '' : `  next: ${plain(next)}\n`}`
}
