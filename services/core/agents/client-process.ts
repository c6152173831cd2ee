import { readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import type { KnownProcess } from '#runtime/process-life.ts'
import { ancestors } from '#runtime/process-stat.ts'
import type { Client } from './client-session.ts'

/** Words of a command line by which a client's own process is known: its program, or the script that an interpreter runs. */
const PROGRAMS: Readonly<Record<Client, RegExp>> = {
  claude: /^claude(?:\.exe|-code)?$|^cli\.js$/,
  codex: /^codex(?:-[\w-]+)?$/,
  gemini: /^gemini(?:\.js)?$/,
  opencode: /^opencode(?:\.exe)?$/,
}

/**
 * The client's own process, among the parents of one of its children: the nearest that runs its program, wherever a shell or a wrapper
 * stands between. Null where none does. `pid` is the child's parent.
 */
export function clientProcessAbove(client: Client, pid: number, procFolder = '/proc'): KnownProcess | null {
  for (const each of ancestors(pid, procFolder)) if (isProgramOf(client, `${procFolder}/${each.pid}`)) return each
  return null
}

/**
 * Whether a process serves terminals that are elsewhere, as the daemon of Codex does (`codex app-server --listen …`): it runs the hooks of
 * all their threads, in the environment of the one that started it.
 */
export function servesTerminals(client: Client, pid: number, procFolder = '/proc'): boolean {
  const words = read(`${procFolder}/${pid}/cmdline`).split('\0')
  return client === 'codex' && words.includes('app-server') && words.some((each) => /^--listen(?:=|$)/.test(each))
}

/** Whether the process of this folder of /proc runs a client's program, or a script of it. */
export function isProgramOf(client: Client, folder: string): boolean {
  const [program = '', script = ''] = read(`${folder}/cmdline`).split('\0')
  const words = [program, script.startsWith('-') ? '' : script, link(`${folder}/exe`), read(`${folder}/comm`).trim()]
  return words.some((each) => PROGRAMS[client].test(basename(each)))
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
