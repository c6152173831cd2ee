import { join } from 'node:path'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import type { CommandContext } from '#console/context.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { readCredentials } from '#spool/credentials.ts'
import { readPlainFile } from '#spool/plain-file.ts'
import { folderOf, type Scope } from './client-files.ts'
import type { HookWishes } from './client-settings.ts'
import { valueAt } from './edit-json.ts'

/** What hooks alone do not give, and how it is had. */
interface Missing {
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
  const looks = [
    isAway('keepalive', state, context).then((isSo) => (isSo ? noKeepalive(state) : null)),
    isAway('fs-watcher', state, context).then((isSo) => (isSo ? noWatcher(state) : null)),
    hasNoCredential(state, context).then((isSo) => (isSo ? NO_CREDENTIAL : null)),
    wishes.client === 'claude' ? holdsMessages(state, wishes, scope).then((isSo) => (isSo ? HELD : null)) : null,
  ]
  return (await Promise.all(looks)).filter((each) => each !== null)
}

function noKeepalive(state: string): Missing {
  return {
    what: `no s2-keepalive answers in ${state}: nobody hears what the hooks tell`,
    next: 'start it: s2 up for a fleet on this machine, else sudo systemctl enable --now s2-keepalive; S2_STATE names another state folder',
  }
}

function noWatcher(state: string): Missing {
  return {
    what: `no s2-fs-watcher answers in ${state}: nobody wakes this agent when it has mail`,
    next: 'sudo systemctl enable --now s2-fs-watcher; under s2 up "S2_WAKE_BY" among the "settings" of the fleet file starts one',
  }
}

const NO_CREDENTIAL: Missing = {
  what: 'this host has no credential of the fleet: it has no mail and no tasks',
  next: 's2 worker invite, on the orchestrator’s host, says what to call here',
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

async function holdsMessages(state: string, wishes: HookWishes, scope: Scope): Promise<boolean> {
  const own = join(folderOf(wishes, { ...scope, isProject: false }), 'settings.json')
  if ((await settingIn(own, ['crossSessionInbound'])) === 'accept') return false
  const project = folderOf(wishes, { ...scope, isProject: true })
  const files = [own, join(project, 'settings.json'), join(project, 'settings.local.json')]
  const modes = await Promise.all(files.map((each) => settingIn(each, ['permissions', 'defaultMode'])))
  return modes.includes(BYPASS) || (await runsBypassed(state))
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
