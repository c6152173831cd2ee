import { readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseObject, readPlainFileSync } from '#spool/plain-file.ts'
import type { Client } from './client-session.ts'

/** The packages that clients come in, by name; another package above a program says nothing of it. */
const PACKAGES: Readonly<Record<Client, RegExp>> = {
  claude: /^@anthropic-ai\/claude-code(?:-[\w-]+)?$/,
  codex: /^@openai\/codex(?:-[\w-]+)?$/,
  gemini: /^@google\/gemini-cli$/,
  opencode: /^opencode(?:-[\w-]+)?$/,
}
/** How many folders above its program a package begins at most. */
const FOLDERS_MAX = 6
const FILE_MAX = 64 * 1024
const VERSION = /^\d{1,9}\.\d{1,9}\.\d{1,9}(?:[-+][\w.+-]{1,40})?$/
/** How the system marks the program of a process that lies there no more: what lies there now may be another version (proc_pid_exe(5)). */
const REPLACED = ' (deleted)'
/** What npm has behind the version of a program for one platform. */
const PLATFORM = /-(?:linux|darwin|win32)-[\w-]+$/

/**
 * The version of a client that runs, by the package that its program or script lies in, so that no program is started for it. Null where
 * it came in none, or was replaced since it started. `pid`: its own process.
 */
export function clientVersion(client: Client, pid: number, procFolder = '/proc'): string | null {
  const folder = `${procFolder}/${pid}`
  for (const path of [() => readlinkSync(`${folder}/exe`), () => realpathSync(scriptOf(folder))]) {
    const version = versionAbove(client, orNull(path))
    if (version !== null) return version
  }
  return null
}

/** The file that an interpreter runs. Throws where the command line names none by its whole path. */
function scriptOf(folder: string): string {
  const [, script = ''] = readFileSync(`${folder}/cmdline`, 'utf8').split('\0')
  if (!script.startsWith('/')) throw new Error('no script is named')
  return script
}

function versionAbove(client: Client, program: string | null): string | null {
  if (program === null || program.endsWith(REPLACED)) return null
  let folder = dirname(program)
  for (let above = 0; above < FOLDERS_MAX && folder !== '/'; above += 1) {
    const version = ownVersion(client, folder) ?? packageVersion(client, folder)
    if (version !== null) return version
    folder = dirname(folder)
  }
  return null
}

/** Codex has a file of its own beside its program, also where it came without npm. */
function ownVersion(client: Client, folder: string): string | null {
  return client === 'codex' ? wholeVersion(fieldsOf(join(folder, 'codex-package.json')).version) : null
}

function packageVersion(client: Client, folder: string): string | null {
  const { name, version } = fieldsOf(join(folder, 'package.json'))
  return typeof name === 'string' && PACKAGES[client].test(name) ? wholeVersion(version) : null
}

function wholeVersion(value: unknown): string | null {
  const version = typeof value === 'string' ? value.replace(PLATFORM, '') : ''
  return VERSION.test(version) ? version : null
}

function fieldsOf(path: string): Readonly<Record<string, unknown>> {
  return orNull(() => parseObject(readPlainFileSync(path, FILE_MAX) ?? '{}')) ?? {}
}

function orNull<T>(read: () => T): T | null {
  try {
    return read()
  } catch {
    return null
  }
}
