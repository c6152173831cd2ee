import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { plain } from '#console/terminal-text.ts'
import { S2Error } from '#fleet/errors.ts'
import { type CodexHook, codexHooks, isTrusted, realPath } from './codex-hooks.ts'
import { tableHeaders, tableText, withoutTable, withTable } from './edit-toml.ts'
import { carryOut, type FileChange, type FileEdit, planInstall } from './file-edits.ts'
import { type TrustMove, withMovedTrust } from './trust-moves.ts'

/** Stands in each table that S2 wrote, so that those go again and the person's own stay. */
const MARK = '# put here by s2 hooks install --trust'

/** Where hooks of Codex stand, and where their trust does. */
export interface TrustPlaces {
  readonly hooks: string
  readonly config: string
}

/**
 * The trust that a person gave to hooks of S2, in Codex's settings. Without hooks it only takes away. `moves`: what other hooks are trusted by
 * goes to their new places.
 */
export function trustFile(
  { hooks: place, config }: TrustPlaces,
  hooks: readonly CodexHook[] = [],
  moves: readonly TrustMove[] = [],
): FileEdit {
  const places = [place, realPath(place)]
  return {
    path: config,
    mayBeLink: true,
    install: (text) =>
      hooks.reduce(withTrust, hooks.length === 0 ? withMovedTrust(text, moves) : withoutMarked(text, places)),
    uninstall: (text) => withMovedTrust(withoutMarked(text, places), moves),
  }
}

function withTrust(text: string, { key, hash }: CodexHook): string {
  const header = `hooks.state.${JSON.stringify(key)}`
  const known = tableText(text, header)
  const line = `trusted_hash = ${JSON.stringify(hash)}`
  if (known === null) return withTable(text, header, [MARK, line])
  // A table of the person's: what else stands in it stays.
  const rest = known
    .split('\n')
    .slice(1)
    .filter((each) => each !== '' && !/^\s*trusted_hash\s*=/.test(each))
  return withTable(text, header, [line, ...rest])
}

function withoutMarked(text: string, places: readonly string[]): string {
  const starts = places.map((each) => JSON.stringify(`${each}:`).slice(0, -1))
  return tableHeaders(text)
    .filter((header) => starts.some((start) => header.includes(start)) && tableText(text, header)?.includes(MARK))
    .reduce(withoutTable, text)
}

export interface Trusting extends TrustPlaces {
  /** The commands that S2 wrote: a hook that only looks like one of these is not trusted. */
  readonly commands: readonly string[]
  /** A person need not be asked. */
  readonly isAgreed: boolean
}

/** Refuses where nobody could be asked, before anything is changed. */
export function demandPerson(isAgreed: boolean, { isAttended }: CommandContext): void {
  if (isAgreed || isAttended) return
  throw new UsageError(
    '--trust asks a person, and there is no terminal',
    'call it in a terminal, or say --yes where a person has agreed',
  )
}

/**
 * Asks a person whether Codex may run the hooks of S2, and writes that into Codex's settings. Answers false where the person declines.
 * Throws where Codex does not take it; then the settings are as they were.
 */
export async function trustHooks(trusting: Trusting, context: CommandContext): Promise<boolean> {
  const hooks = await ownHooks(trusting, context)
  if (hooks.every(isTrusted)) return true
  if (!trusting.isAgreed && !(await isAgreedTo(hooks, trusting.config, context))) return false
  const edit = trustFile(trusting, hooks)
  const change = await planInstall(edit)
  await carryOut(edit, change, true)
  await demandTaken(trusting, edit, change, context)
  context.print(`${trusting.config} trusts ${hooks.length} hooks\n`)
  return true
}

/** What would be written, where the hooks are known already. */
export async function plannedTrust(trusting: Trusting, context: CommandContext): Promise<FileEdit[]> {
  const hooks = await ownHooks(trusting, context).catch(() => [])
  return hooks.every(isTrusted) ? [] : [trustFile(trusting, hooks)]
}

async function ownHooks({ hooks: path, commands }: Trusting, context: CommandContext): Promise<CodexHook[]> {
  const hooks = (await codexHooks(path, context)).filter(({ command }) => commands.includes(command))
  if (hooks.length > 0) return hooks
  throw new S2Error('not_found', `codex reads no hooks from ${path}`, {
    next: 'in a project, let codex trust the folder first: call codex there',
  })
}

async function isAgreedTo(hooks: readonly CodexHook[], path: string, context: CommandContext): Promise<boolean> {
  context.tell('Codex would run these commands at events of each of its sessions:\n')
  for (const { command } of hooks) context.tell(`  ${plain(command)}\n`)
  const answer = await context.ask(plain(`Trust them, in ${path}? [y/N] `))
  return /^y(es)?$/i.test(answer?.trim() ?? '')
}

/** A file in a form that S2 does not know would leave Codex without its settings. */
async function demandTaken(
  trusting: Trusting,
  edit: FileEdit,
  { path, before, after }: FileChange,
  context: CommandContext,
): Promise<void> {
  const fault = await ownHooks(trusting, context).then(
    (hooks) => (hooks.every(isTrusted) ? null : 'its hooks are not trusted all the same'),
    (error: Error) => error.message,
  )
  if (fault === null) return
  await carryOut(edit, { path, before: after, after: before }, true)
  throw new S2Error('conflict', `codex does not take what was written into ${path}, which is as it was: ${fault}`, {
    next: 'call /hooks in codex, and trust those of s2',
  })
}
