import { lookup } from 'node:dns/promises'
import { UsageError } from '#console/failure.ts'
import { redact } from '#fleet/redact.ts'
import type { Membership } from '#identity/identity-file.ts'
import { parseInvitation } from '#identity/joining.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { SETTINGS, type SettingName } from '#runtime/settings.ts'
import { type BridgeAddress, bridgeSettings, ownAddresses, ownNames, parseBridge } from './bridge-address.ts'
import { type ChosenCertificate, chooseCertificate } from './choose-certificate.ts'
import type { Check, Dialogue } from './dialogue.ts'
import { ensureGitAccess } from './git-access.ts'
import type { ThisHost } from './host-roles.ts'
import { ownMembership } from './join-host.ts'
import type { QuestionContext } from './question-context.ts'
import type { SettingValues } from './settings-draft.ts'
import type { Todo } from './todo.ts'
import type { Remote } from './try-remote.ts'

/** The settings that follow from the answers. */
export interface Answers {
  /** The settings of all services of this host. */
  readonly common: SettingValues
  /** The settings of the watcher that wakes the agent. */
  readonly watcher: SettingValues
  readonly todos: readonly Todo[]
  /** The invitation by which this host's worker joins; null where it has none, or needs none. */
  readonly invitation: string | null
}

/** Asks for all that is neither given nor set, and tests each answer while the person can still correct it. */
export async function askQuestions(talk: QuestionContext): Promise<Answers> {
  const { host } = talk
  const todos: Todo[] = []
  const bridge = host.orchestrator === null ? {} : await askBridge(talk, todos)
  const line = host.worker === null ? null : await askInvitation(talk)
  const address = await askRemote(talk, line, todos)
  const S2_WAKE = await askWake(talk)
  return {
    common: { ...bridge, ...withoutEmpty({ S2_GIT_REMOTE: address }) },
    watcher: withoutEmpty({ S2_WAKE }),
    todos,
    invitation: line,
  }
}

/** The values without those that are empty or undefined. */
export function withoutEmpty(values: Partial<Record<SettingName, string | undefined>>): SettingValues {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== ''),
  ) as SettingValues
}

/** Asks where workers reach the bridge and how they recognise it. Settings that were written by hand stay. */
async function askBridge(talk: QuestionContext, todos: Todo[]): Promise<SettingValues> {
  const { dialogue, host } = talk
  if (dialogue.canAsk && mustAsk(talk, 'S2_BRIDGE_URL', talk.given.bridgeUrl))
    dialogue.say(`This machine is ${ownNames().join(', ')}.`)
  const said = await answerFor(
    talk,
    'S2_BRIDGE_URL',
    talk.given.bridgeUrl,
    'At which name or address do workers reach the bridge, with :port if not 7433? Empty: only this machine. ',
  )
  if (said === '') return {}
  const address = parseBridge(said)
  if (dialogue.canAsk) await warnOfForeignName(address, dialogue)
  const certificate =
    address.isLocal || !address.url.startsWith('https:') ? NO_CERTIFICATE : await chooseCertificate(talk, address)
  todos.push(...certificate.todos)
  const derived = { ...bridgeSettings(address, certificate.trust), ...certificate.settings }
  const isKept = (name: string): boolean =>
    talk.given.force !== true && name !== 'S2_BRIDGE_URL' && host.set[name] !== undefined
  return Object.fromEntries(Object.entries(derived).filter(([name]) => !isKept(name))) as SettingValues
}

const NO_CERTIFICATE: ChosenCertificate = { trust: null, settings: {}, todos: [] }

/** Warns of a name that does not lead to this machine, before workers fail to find it. */
async function warnOfForeignName({ host }: BridgeAddress, dialogue: Dialogue): Promise<void> {
  const found = await lookup(host, { all: true }).catch(() => null)
  dialogue.throwIfInterrupted()
  if (found === null) {
    dialogue.say(`${host} does not resolve here: it must for the workers, by DNS or in their /etc/hosts`)
    return
  }
  const addresses = found.map(({ address }) => address)
  const own = ownAddresses()
  if (!addresses.some((each) => own.includes(each) || each.startsWith('127.') || each === '::1'))
    dialogue.say(`${host} is ${addresses.join(', ')}, which is not this machine: that address has to forward to it`)
}

/** Asks for the invitation of this host's worker, unless it has joined already; on a host with both roles one is made here. */
async function askInvitation(talk: QuestionContext): Promise<string | null> {
  const { dialogue, host, context, given } = talk
  if (host.role !== 'worker') return null
  const known = await ownMembership(host)
  // At a terminal `-` is no pipe: there it is pasted.
  if (given.join !== undefined && !(given.join === '-' && dialogue.canAsk))
    return checkedLine(given.join === '-' ? await context.input(LINE_MAX) : given.join, known, talk)
  if (known !== null && given.force !== true) {
    sayMembership(known, dialogue)
    return null
  }
  if (!dialogue.canAsk) return null
  const question = 'Which line did `s2 worker invite` print on the orchestrator’s host? Empty: join later. '
  const answer = await dialogue.ask(question, (text) => (text === '' ? null : faultOfLine(text, context)))
  return answer === '' ? null : answer
}

const LINE_MAX = 16_384

function sayMembership({ agent, bridgeUrl }: Membership, dialogue: Dialogue): void {
  dialogue.say(`this host is ${agent} of the bridge ${bridgeUrl}`)
}

/** A line that is good. One that has ended changes nothing where this host has joined by such a line: it runs again. */
function checkedLine(line: string, known: Membership | null, { context, dialogue, given }: QuestionContext) {
  const { agent, orchestrator, endsAt } = parseInvitation(line, 0)
  const isMember = known?.agent === agent && known.orchestrator.key === orchestrator.key
  if (known !== null && isMember && endsAt <= context.clock.wall() && given.force !== true) {
    sayMembership(known, dialogue)
    return null
  }
  parseInvitation(line, context.clock.wall())
  return line
}

function faultOfLine(line: string, { clock }: QuestionContext['context']): string | null {
  try {
    parseInvitation(line, clock.wall())
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/** Gets access to the remote that credentials go through, or says what is left to do for that. Answers what is to be set. */
async function askRemote(talk: QuestionContext, line: string | null, todos: Todo[]): Promise<string> {
  const { dialogue, host, context, onMade, given } = talk
  const chosen = await chooseRemote(talk, line)
  let { address } = chosen
  if (address === '') return address
  for (const remote of remotesOf(host, chosen.branch)) {
    const parts = { context, dialogue, accepted: given.acceptHostKey, onMade, retryCommand: `${host.command} init` }
    const access = await ensureGitAccess({ ...remote, address }, parts)
    if (access.todo !== null) todos.push(access.todo)
    address = access.address
  }
  return chosen.isInvited && address === chosen.address ? '' : address
}

/** The remote and its branch. A worker has it from its invitation, and sets it only to override that. */
async function chooseRemote(talk: QuestionContext, line: string | null) {
  const { host, context, given } = talk
  const branch = host.set.S2_GIT_BRANCH ?? SETTINGS.S2_GIT_BRANCH.fallback
  if (host.orchestrator === null && given.remote === undefined && host.set.S2_GIT_REMOTE === undefined) {
    const invited = line === null ? await ownMembership(host) : parseInvitation(line, context.clock.wall())
    const address = invited?.remote ?? ''
    return { address, branch: host.set.S2_GIT_BRANCH ?? invited?.branch ?? branch, isInvited: true }
  }
  const question = 'Which git remote do credentials go through? Empty: none. '
  return { address: await answerFor(talk, 'S2_GIT_REMOTE', given.remote, question), branch, isInvited: false }
}

/** The remote as the orchestrator and the worker of this host use it. */
function remotesOf({ orchestrator, worker, set, services }: ThisHost, branch: string): Omit<Remote, 'address'>[] {
  const common = { branch, settings: set, isSandboxed: services.isOfMachine }
  return [
    ...(orchestrator === null ? [] : [{ ...common, user: orchestrator, right: 'push' as const }]),
    ...(worker === null ? [] : [{ ...common, user: worker, right: 'read' as const }]),
  ]
}

async function askWake(talk: QuestionContext): Promise<string> {
  return await answerFor(
    talk,
    'S2_WAKE',
    talk.given.wake,
    'Which command wakes the agent here when a message comes? Empty: none. ',
  )
}

/** Whether a setting has to be asked for: no option gives it, and it is not set or is to be changed. */
function mustAsk({ host, given }: QuestionContext, name: SettingName, said: string | undefined): boolean {
  return said === undefined && (given.force === true || valueSet(host, name) === undefined)
}

function valueSet(host: ThisHost, name: SettingName): string | undefined {
  return name === 'S2_WAKE' ? (host.watcherSet[name] ?? host.set[name]) : host.set[name]
}

/** The value of a setting: given, set, or answered; empty where it is left out. */
async function answerFor(
  talk: QuestionContext,
  name: SettingName,
  said: string | undefined,
  question: string,
): Promise<string> {
  const { dialogue, host } = talk
  if (said !== undefined) return said
  const set = valueSet(host, name)
  const fault = set === undefined || set === '' ? null : refusalOf(name, set)
  if (fault !== null) {
    if (!dialogue.canAsk) throw new ConfigError([`${name}=${redact(JSON.stringify(set))} ${fault}`])
    dialogue.say(`${name} is ${set}, as it is set: ${fault}`)
    return await dialogue.ask(question, checkOf(name, 'another one is needed'))
  }
  if (!mustAsk(talk, name, said)) {
    dialogue.say(`${name} is ${set}, as it is set`)
    return set ?? ''
  }
  if (!dialogue.canAsk) return set ?? ''
  const answer = await dialogue.ask(set === undefined ? question : `${question}Enter: ${set} `, checkOf(name, null))
  return answer === '' ? (set ?? '') : answer
}

/** Why services would refuse a value; null when they accept it. */
function refusalOf(name: SettingName, set: string): string | null {
  try {
    SETTINGS[name].parse(set)
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/** Checks an answer by the rules of its setting. */
function checkOf(name: SettingName, demanded: string | null): Check {
  return (answer) => {
    if (answer === '') return demanded
    const { parse, example } = SETTINGS[name]
    try {
      if (name === 'S2_BRIDGE_URL') parseBridge(answer)
      else parse(answer)
      return null
    } catch (error) {
      return `it ${(error as Error).message}; for example ${example}`
    }
  }
}

/** Throws for options that this role does not have. */
export function checkGivenOptions({ host, given }: QuestionContext): void {
  const stray = [
    ...(host.orchestrator === null && given.bridgeUrl !== undefined
      ? ['--bridge-url: it comes with the invitation']
      : []),
    ...(host.orchestrator === null && given.worker !== undefined ? ['--worker: the orchestrator’s host invites'] : []),
    ...(host.role !== 'worker' && given.join !== undefined ? ['--join: only a worker joins'] : []),
  ]
  if (stray.length > 0) throw new UsageError(`this role has no ${stray.join(', no ')}`, 'leave it out')
}
