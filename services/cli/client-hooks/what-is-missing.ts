import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import type { CommandContext } from '#console/context.ts'
import { fleetAbove } from '#console/state-folder.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { WOKEN_PLACE } from '#runtime/wake-settings.ts'
import { readCredentials } from '#spool/credentials.ts'
import { readPlainFile } from '#spool/plain-file.ts'
import { folderOf, mcpFiles, type Scope } from './client-files.ts'
import type { HookWishes } from './client-settings.ts'
import { valueAt } from './edit-json.ts'

/** What hooks alone do not give, and how it is had. */
export interface Missing {
  readonly what: string
  readonly next: string
}

/**
 * What is still missing on this host before an agent whose hooks are installed is told apart and woken. One look: what a person has not
 * started yet, or this user may not see, is named as it is now.
 */
export async function whatIsMissing(
  state: string,
  wishes: HookWishes,
  scope: Scope,
  context: CommandContext,
): Promise<Missing[]> {
  const above = fleetAbove(context)
  const looks = [
    isAway('keepalive', state, context).then((isSo) => (isSo ? noKeepalive(state, above) : null)),
    isAway('fs-watcher', state, context).then((isSo) => (isSo ? noWatcher(state) : null)),
    hasNoCredential(state, context).then((isSo) => (isSo ? NO_CREDENTIAL : null)),
    hasCommand(context.env) ? null : NO_COMMAND,
    wishes.client === 'claude' ? asksForTools(state, wishes, scope).then((isSo) => (isSo ? ASKED : null)) : null,
    wishes.client === 'claude' ? holdsMessages(state, wishes, scope).then((isSo) => (isSo ? HELD : null)) : null,
  ]
  return (await Promise.all(looks)).filter((each) => each !== null)
}

function noKeepalive(state: string, above: string | null): Missing {
  return {
    what: `no s2-keepalive answers in ${state}: nobody hears what the hooks tell`,
    next:
      above ??
      'start it: s2 up for a fleet on this machine, else sudo systemctl enable --now s2-keepalive; S2_STATE names another state folder',
  }
}

function noWatcher(state: string): Missing {
  return {
    what: `no s2-fs-watcher answers in ${state}: nobody wakes this agent when it has mail`,
    next: placeOf(state) ?? 'sudo systemctl enable --now s2-fs-watcher',
  }
}

/** What to say in the fleet file of the worker of `s2 up` whose state folder this is; null where it is none. */
function placeOf(state: string): string | null {
  const number = /\/workers\/s2-worker-(\d+)$/.exec(state)?.[1]
  if (number === undefined) return null
  return `put ${WOKEN_PLACE} into worker ${number} of the fleet file, and start s2 up again`
}

const NO_CREDENTIAL: Missing = {
  what: 'this host has no credential of the fleet: it has no mail and no tasks',
  next: 's2 worker invite, on the orchestrator’s host, says what to call here',
}

const NO_COMMAND: Missing = {
  what: 'the command s2 is not in PATH: an agent that is told to call "s2 check" cannot',
  next: 'before the client starts, put it there: . deploy/env.sh in a checkout, else the folder where make install put it',
}

function hasCommand({ PATH = '' }: CommandContext['env']): boolean {
  return PATH.split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, 's2')))
}

const ASKED: Missing = {
  what: 'Claude Code asks a person before it uses a tool of S2: woken when nobody is there, it waits at that dialog',
  next: 'put "mcp__s2" into permissions.allow of your settings of Claude Code, and "Bash(s2 *)" for the commands',
}

const HELD: Missing = {
  what: 'Claude Code runs in bypass mode, in which a wake by its socket would open a dialog that blocks it: that way is left out',
  next: 'put "crossSessionInbound": "accept" into your own settings of Claude Code; those of a project cannot say it',
}

async function isAway(program: string, state: string, { clock }: CommandContext): Promise<boolean> {
  return (await askHealth(program, { path: healthSocket(state, program) }, clock)).state === 'away'
}

/** False also where this user may not look. */
async function hasNoCredential(state: string, { clock }: CommandContext): Promise<boolean> {
  const found = await readCredentials(state, clock.wall()).catch(() => null)
  return found !== null && found.credentials.length === 0
}

const BYPASS = 'bypassPermissions'
/** Modes in which no person is asked. */
const UNASKED: readonly unknown[] = [BYPASS, 'auto']

/** The settings of the user, and those of the project that count over them. */
function settingsOf(wishes: HookWishes, scope: Scope): readonly [string, ...string[]] {
  const own = join(folderOf(wishes, { ...scope, isProject: false }), 'settings.json')
  const project = folderOf(wishes, { ...scope, isProject: true })
  return [own, join(project, 'settings.json'), join(project, 'settings.local.json')]
}

async function holdsMessages(state: string, wishes: HookWishes, scope: Scope): Promise<boolean> {
  const files = settingsOf(wishes, scope)
  if ((await settingIn(files[0], ['crossSessionInbound'])) === 'accept') return false
  return (await inEach(files, MODE)).includes(BYPASS) || (await runsBypassed(state))
}

/** Whether it has the tools of S2, and no rule that lets it use them. */
async function asksForTools(state: string, wishes: HookWishes, scope: Scope): Promise<boolean> {
  const servers = mcpFiles(wishes, scope).map(({ path }) => path)
  if ((await inEach(servers, ['mcpServers', 's2'])).every((each) => each === undefined)) return false
  const files = settingsOf(wishes, scope)
  if ((await inEach(files, MODE)).some((mode) => UNASKED.includes(mode))) return false
  const allowed = (await inEach(files, ['permissions', 'allow'])).flat()
  if (allowed.some((rule) => typeof rule === 'string' && /^mcp__s2(?:$|__)/.test(rule))) return false
  return !(await runsBypassed(state))
}

const MODE = ['permissions', 'defaultMode']

async function inEach(files: readonly string[], at: readonly string[]): Promise<unknown[]> {
  return await Promise.all(files.map((each) => settingIn(each, at)))
}

async function runsBypassed(state: string): Promise<boolean> {
  const sessions = await readClientSessions(state).catch(() => [])
  return sessions.some(
    ({ client, activity, permissionMode }) =>
      client === 'claude' && activity.state !== 'gone' && permissionMode === BYPASS,
  )
}

const FILE_MAX = 1024 * 1024

async function settingIn(path: string, at: readonly string[]): Promise<unknown> {
  try {
    return valueAt((await readPlainFile(path, FILE_MAX))?.text ?? '{}', at)
  } catch {
    return undefined // a broken file is told by the installation itself
  }
}
