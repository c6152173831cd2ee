import { existsSync, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { clientFolder } from '#agents/wake/client-environment.ts'
import type { Env } from '#runtime/read-settings.ts'
import { parseObject, readPlainFile } from '#spool/plain-file.ts'
import { field } from './said.ts'

/**
 * Whether the user of a client has told it that a folder is to be trusted. A client that nobody sits at does not ask: it runs the hooks
 * and servers that the files of a repository name, before the model says a word.
 */
export type FolderTrust = (folder: string, env: Env) => Promise<boolean>

const FILE_MAX = 16 * 1024 * 1024

/** By the file in which Claude Code keeps what its dialog was answered, for the folder or one that it lies in. */
export const claudeTrust: FolderTrust = async (folder, env) => {
  const projects = await claudeProjects(join(env.CLAUDE_CONFIG_DIR ?? env.HOME ?? homedir(), '.claude.json'))
  for (let at = realPath(folder); ; at = dirname(at)) {
    if (field(field(projects, at), 'hasTrustDialogAccepted') === true) return true
    if (at === dirname(at)) return false
  }
}

/** By the settings of Codex, for that very folder: one that they do not name Codex notes as trusted as soon as a thread begins there. */
export const codexTrust: FolderTrust = async (folder, env) => {
  const text = await textOf(join(clientFolder(env, 'CODEX_HOME', '.codex'), 'config.toml'))
  return trustedIn(text).includes(realPath(folder))
}

/** A folder that is gone is found to be so by whatever is started there. */
function realPath(folder: string): string {
  return existsSync(folder) ? realpathSync(folder) : folder
}

async function claudeProjects(path: string): Promise<unknown> {
  try {
    return parseObject(await textOf(path)).projects
  } catch {
    return null
  }
}

/** Nothing where it cannot be read: then nothing is trusted. */
async function textOf(path: string): Promise<string> {
  try {
    return (await readPlainFile(realpathSync(path), FILE_MAX))?.text ?? ''
  } catch {
    return ''
  }
}

const TABLE = /^\s*\[\s*projects\s*\.\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*\]\s*(?:#.*)?$/
const TRUSTED = /^\s*trust_level\s*=\s*["']trusted["']\s*(?:#.*)?$/

/** The folders that such settings trust by a table of their own; what is written in another form counts as not trusted. */
function trustedIn(toml: string): string[] {
  const trusted: string[] = []
  let folder: string | null = null
  for (const line of toml.split('\n')) {
    const [isTable, quoted, plain] = TABLE.exec(line) ?? []
    if (isTable !== undefined) folder = plain ?? unescaped(quoted ?? '')
    else if (/^\s*\[/.test(line)) folder = null
    else if (folder !== null && TRUSTED.test(line)) trusted.push(folder)
  }
  return trusted
}

function unescaped(text: string): string | null {
  try {
    return JSON.parse(`"${text}"`) as string
  } catch {
    return null
  }
}
