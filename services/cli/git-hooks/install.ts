import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { Checkout } from '#git/checkout.ts'
import { publishInto } from '#spool/atomic-files.ts'
import { removeMark } from './check-mark.ts'
import { BEFORE, callOf, GIT_HOOKS, type GitHook, hookScript, isOurScript, type ScriptParts } from './hook-script.ts'

/** What became of one hook. */
export interface HookChange {
  readonly hook: GitHook
  readonly path: string
  readonly what: 'written' | 'renewed' | 'removed' | 'absent' | 'left'
  /** A hook of somebody else, which ours runs first. */
  readonly chained: boolean
}

const HOOK_MODE = 0o755

/** Writes the hooks; one that was there before is kept and run first. Twice is once. Throws `conflict`. */
export async function installGitHooks(checkout: Checkout, parts: ScriptParts): Promise<HookChange[]> {
  const folder = await hooksFolder(checkout, parts)
  mkdirSync(folder, { recursive: true })
  const changes: HookChange[] = []
  for (const hook of GIT_HOOKS) changes.push(await installOne(folder, hook, parts))
  return changes
}

async function installOne(folder: string, hook: GitHook, parts: ScriptParts): Promise<HookChange> {
  const path = join(folder, hook)
  const isThere = isEntry(path)
  const isRenewed = isThere && isOurs(path)
  if (isThere && !isRenewed) keepBefore(path)
  await publishInto(folder, hook, hookScript(hook, parts), HOOK_MODE)
  chmodSync(path, HOOK_MODE)
  return { hook, path, what: isRenewed ? 'renewed' : 'written', chained: isEntry(path + BEFORE) }
}

function keepBefore(path: string): void {
  if (isEntry(path + BEFORE)) {
    throw new S2Error('conflict', `${path} is another hook now, and ${path}${BEFORE} is kept from before`, {
      next: `remove the one of the two that is not wanted, and install again`,
    })
  }
  renameSync(path, path + BEFORE)
}

/** Removes our hooks and puts back those that were there before. */
export async function uninstallGitHooks(checkout: Checkout): Promise<HookChange[]> {
  const folder = await currentHooksFolder(checkout)
  const changes = GIT_HOOKS.map((hook) => uninstallOne(join(folder, hook), hook))
  removeIfEmpty(folder)
  for (const gitFolder of gitFolders(checkout)) removeMark({ gitFolder })
  return changes
}

/** Those of all worktrees: each has an index of its own. */
function gitFolders({ commonFolder }: Checkout): string[] {
  const others = join(commonFolder, 'worktrees')
  const names = existsSync(others) ? readdirSync(others) : []
  return [commonFolder, ...names.map((name) => join(others, name))]
}

function uninstallOne(path: string, hook: GitHook): HookChange {
  const chained = isEntry(path + BEFORE)
  if (isEntry(path) && !isOurs(path)) return { hook, path, what: 'left', chained }
  const isThere = isEntry(path)
  if (isThere) unlinkSync(path)
  if (chained) renameSync(path + BEFORE, path)
  return { hook, path, what: isThere ? 'removed' : 'absent', chained }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // others have hooks in it, or it is not there
  }
}

function isEntry(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}

function isOurs(path: string): boolean {
  return lstatSync(path).isFile() && isOurScript(readFileSync(path, 'utf8'))
}

/** The folder whose hooks git runs here. */
async function currentHooksFolder(checkout: Checkout): Promise<string> {
  return resolve(checkout.top, (await checkout.line('rev-parse', '--git-path', 'hooks')) ?? '.git/hooks')
}

/**
 * The same where it is the repository's own. Hooks that a repository carries in its tree belong to all who clone it, and those of
 * a user's or a machine's settings run in every repository: what is written there would be more than was asked for.
 */
async function hooksFolder(checkout: Checkout, parts: ScriptParts): Promise<string> {
  const folder = await currentHooksFolder(checkout)
  const named = await checkout.line('config', '--show-scope', '--get', 'core.hooksPath')
  if (named === null) return folder
  const [scope = ''] = named.split('\t')
  if (!['local', 'worktree'].includes(scope)) {
    throw elsewhere(`core.hooksPath of the ${scope} settings is ${folder}, which all repositories use`, folder, parts)
  }
  if (!isInTree(checkout, folder)) return folder
  if (/(?:^|\/)\.husky(?:\/_)?$/.test(folder)) {
    throw elsewhere('the hooks of this repository are made by husky', folder.replace(/\/_$/, ''), parts)
  }
  throw elsewhere(`core.hooksPath is ${folder}, which is a part of the checkout`, folder, parts)
}

function elsewhere(what: string, folder: string, parts: ScriptParts): S2Error {
  const lines = GIT_HOOKS.map((hook) => `to ${join(folder, hook)}: ${callOf(hook, parts)}`)
  return new S2Error('conflict', `${what}: no hook was written`, {
    next: `add a line to the hooks there, if their owner agrees: ${lines.join(' — ')}`,
  })
}

function isInTree(checkout: Checkout, folder: string): boolean {
  const path = existsSync(folder) ? realpathSync(folder) : folder
  return isWithin(checkout.top, path) && !isWithin(checkout.commonFolder, path) && !isWithin(checkout.gitFolder, path)
}

function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path)
  return !way.startsWith('..') && !way.startsWith('/')
}
