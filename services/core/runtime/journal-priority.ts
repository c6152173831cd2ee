import { fstatSync } from 'node:fs'
import type { Env } from './read-settings.ts'

/** Syslog's numbers, sd-daemon(3). */
const PRIORITIES = { error: 3, warn: 4, info: 6, debug: 7 } as const

/**
 * Prefixes each line with its priority where the journal reads the descriptor, so that `journalctl -p err` finds errors; the
 * journal removes the prefix. Elsewhere the text stays as it is. A child inherits JOURNAL_STREAM, and only the device and
 * the inode show whether its output still goes to the journal, systemd.exec(5).
 */
export function priorityMarkFor(descriptor: 1 | 2, env: Env): (level: keyof typeof PRIORITIES, text: string) => string {
  if (!isJournal(descriptor, env.JOURNAL_STREAM)) return (_level, text) => text
  return (level, text) => text.replace(/(^|\n)(?=[^\n])/g, `$1<${PRIORITIES[level]}>`)
}

function isJournal(descriptor: number, stream: string | undefined): boolean {
  if (stream === undefined) return false
  try {
    const { dev, ino } = fstatSync(descriptor, { bigint: true })
    return stream === `${dev}:${ino}`
  } catch {
    return false // the descriptor is closed
  }
}
