/** Permission prompts of the real Claude Code are answered from the orchestrator's host, where the guard of its own host is on. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { openGrant } from '../../services/cli/guard/grant.ts'
import { type Outcome, run as runS2 } from '../cli/run-command.ts'
import { workerOf } from '../rehearse/stage.ts'
import { until } from '../until.ts'
import type { ClaudeHome } from './claude.ts'
import { ClientFleet } from './fleet.ts'
import { inOrder, MadeUpModel } from './model.ts'
import { call, say } from './model-api.ts'
import { placedClaude } from './place.ts'

let fleet: ClientFleet
let model: MadeUpModel
let places = 0

before(async () => {
  fleet = await ClientFleet.raise([{}, {}, {}, {}])
  model = await MadeUpModel.start()
})
after(async () => {
  await model[Symbol.asyncDispose]()
  await fleet[Symbol.asyncDispose]()
})

/** Claude Code whose model makes these files, one after the other. */
async function claude(guard: 'on' | 'off', ...files: readonly string[]): Promise<{ worker: number; home: ClaudeHome }> {
  places += 1
  const home = await placedClaude(fleet, places, model)
  home.env.S2_GUARD = guard
  const calls = files.map((file) => call('Bash', { command: `touch ${file}`, description: 'makes a file' }))
  model.scripts.set(home.sentKey, inOrder(...calls, say('that is all')))
  return { worker: places, home }
}

/** The name of the prompt of a tool that makes this file, as the fleet is told it. */
async function promptOf(worker: number, file: string): Promise<string> {
  const named = new RegExp(`^permission prompt ([0-9a-f]{12}): Bash: touch ${file}$`)
  const { activity } = await fleet.verdict(worker, `asked of ${file}`, (each) => named.test(each.activity?.what ?? ''))
  return named.exec(activity?.what ?? '')?.[1] ?? ''
}

/** A person at the host of a worker allows one answer, and somebody at the orchestrator's gives it. */
async function answer(worker: number, prompt: string, decision: string, ...more: readonly string[]): Promise<Outcome> {
  const state = fleet.stateOf(worker)
  const code = await openGrant(state, { mode: 'answer', folder: state, tokenMs: 60_000 }, Date.now())
  return await answerWith(code, worker, prompt, decision, ...more)
}

async function answerWith(code: string, worker: number, ...words: readonly string[]): Promise<Outcome> {
  const env = { S2_STATE: fleet.stage.state }
  return await runS2(['answer', workerOf(worker), ...words], { env, isAttended: false, stdin: code })
}

test('what is allowed from afar runs, what is denied does not, and another name does nothing', async () => {
  const { worker, home } = await claude('on', 'one', 'two')
  await using _ = home
  const terminal = await home.sit()
  await terminal.type('make them')
  await terminal.shows(/Do you want to proceed/)
  const first = await promptOf(worker, 'one')
  await until('the incident names it', async () =>
    (await fleet.store.incidents({ open: true })).some(
      ({ kind, summary }) => kind === 'waiting' && summary.includes(first),
    ),
  )

  const wrong = await answer(
    worker,
    first.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
    'allow',
  )
  assert.match(wrong.err, /waits for an answer to/)
  assert.equal(existsSync(join(home.project, 'one')), false)

  const guessed = await answerWith('ABCDE-FGHJK', worker, first, 'allow')
  assert.match(guessed.err, /did not take the answer: the code is wrong, and void now/)
  assert.equal(existsSync(join(home.project, 'one')), false)

  const allowed = await answer(worker, first, 'allow')
  assert.deepEqual(
    [allowed.code, allowed.out],
    [0, `allowed: permission prompt ${first}: Bash: touch one\n`],
    allowed.err,
  )
  const second = await promptOf(worker, 'two')
  assert.equal(existsSync(join(home.project, 'one')), true)

  const denied = await answer(worker, second, 'deny', '--reason', 'there are enough')
  assert.equal(denied.code, 0, denied.err)
  await terminal.shows(/● that is all/)
  await model.asked('after the denial', ({ newest }) => newest.includes('there are enough'))
  assert.equal(existsSync(join(home.project, 'two')), false)
  await fleet.activity(worker, 'idle')
  const acts = (await fleet.store.audit(0, 1_000)).filter(({ action }) => action === 'guard_answered')
  assert.deepEqual(
    acts.map(({ actor, details }) => [actor, details.prompt, details.decision]),
    [
      [fleet.session(worker), first, 'allow'],
      [fleet.session(worker), second, 'deny'],
    ],
  )
  assert.deepEqual(await fleet.unacked(worker), [], 'an answer is no mail of the agent')
})

test('a person at the terminal is not kept waiting, and an answer that comes after that does nothing', async () => {
  const { worker, home } = await claude('on', 'three')
  await using _ = home
  const terminal = await home.sit()
  await terminal.type('make it')
  await terminal.shows(/Do you want to proceed/)
  const prompt = await promptOf(worker, 'three')
  await terminal.press('Enter')
  await terminal.shows(/● that is all/)
  await fleet.activity(worker, 'idle')
  assert.match((await answer(worker, prompt, 'deny')).err, /shows no dialog now: nothing was answered/)
  assert.equal(existsSync(join(home.project, 'three')), true)
})

test('a person who says no at the terminal and leaves is not kept waiting either', async () => {
  const { worker, home } = await claude('on', 'five')
  await using _ = home
  const terminal = await home.sit()
  await terminal.type('make it')
  await terminal.shows(/Do you want to proceed/)
  await promptOf(worker, 'five')
  await terminal.press('Escape')
  await fleet.activity(worker, 'idle')
  const began = performance.now()
  await terminal.type('/exit')
  await until('it has ended', () => home.sessions().length === 0)
  assert.ok(performance.now() - began < 4_000)
  await until('its hook has ended', () => home.family().length === 0)
})

test('without the guard nothing waits, and nothing can be answered', async () => {
  const { worker, home } = await claude('off', 'four')
  await using _ = home
  const terminal = await home.sit()
  await terminal.type('make it')
  await terminal.shows(/Do you want to proceed/)
  await fleet.verdict(worker, 'asked', ({ activity }) => activity?.what === 'permission prompt: Bash: touch four')
  const { err } = await answer(worker, '0123456789ab', 'allow')
  assert.match(err, /cannot be answered from afar now: nothing was answered\n {2}next: .*S2_GUARD=on/)
  assert.equal(existsSync(join(home.project, 'four')), false)
})
