/** The rig itself: the real clients start, ask the made-up model, do what it says, and leave nothing behind. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ClaudeHome, prompt } from './claude.ts'
import { CodexHome } from './codex.ts'
import { inOrder, MadeUpModel } from './model.ts'
import { call, drop, refuse, say, silence } from './model-api.ts'
import { runInShell } from './responses-api.ts'

test('Claude Code takes a prompt in its terminal, runs a tool, and is idle again', async () => {
  await using model = await MadeUpModel.start(
    inOrder(call('Bash', { command: 'echo from the tool', description: 'says it' }), say('that is all')),
  )
  await using home = new ClaudeHome({ model: model.url })
  home.settle({}, ['Bash'])
  const terminal = await home.sit()
  await terminal.type('do the work please')
  const first = await model.asked('by the prompt', ({ newest }) => newest.includes('do the work please'))
  assert.equal(first.key, home.sentKey)
  await model.asked('with the result of the tool', ({ newest }) => newest.includes('from the tool'))
  await terminal.shows(/that is all/)
  const [session] = home.sessions()
  assert.equal(session?.cwd, home.project)
})

test('Claude Code without a terminal takes many prompts in one process', async () => {
  await using model = await MadeUpModel.start()
  await using home = new ClaudeHome({ model: model.url })
  const run = home.stream()
  for (const text of ['the first', 'the second']) {
    const before = run.events.filter(({ type }) => type === 'result').length
    run.tell(prompt(text))
    await run.hears('the end of the turn', () => run.events.filter(({ type }) => type === 'result').length > before)
  }
  assert.equal(await run.finish(), 0)
  assert.deepEqual(
    model.questions.map(({ newest }) => /the (first|second)/.exec(newest)?.[1]),
    ['first', 'second'],
  )
})

test('Claude Code is refused and says why', async () => {
  await using model = await MadeUpModel.start(() => refuse(401, 'authentication_error', 'made up'))
  await using home = new ClaudeHome({ model: model.url })
  const run = home.start(['-p', '--', 'a prompt'])
  assert.notEqual(await run.finish(), 0)
  assert.match(run.said, /401|API key|authenticat/i)
})

test('Codex takes a prompt in its terminal, runs a tool, and is idle again', async () => {
  await using model = await MadeUpModel.start((question) =>
    question.newest.includes('function_call_output') ? say('that is all') : runInShell(question, 'echo from the tool'),
  )
  await using home = new CodexHome({ model: model.url })
  const terminal = await home.sit()
  await terminal.type('do the work please')
  await model.asked('with the result of the tool', ({ newest }) => /function_call_output.*from the tool/.test(newest))
  await terminal.shows(/that is all/)
})

test('Codex without a terminal does one turn, or many behind its server', async () => {
  await using model = await MadeUpModel.start(() => say('said by the model'))
  await using home = new CodexHome({ model: model.url })
  const run = home.exec('one turn')
  assert.equal(await run.ended, 0, run.said)
  assert.match(run.said, /said by the model/)

  const server = await home.serve()
  const { thread } = (await server.ask('thread/start', { cwd: home.project })) as { thread: { id: string } }
  await server.ask('turn/start', { threadId: thread.id, input: [{ type: 'text', text: 'from its server' }] })
  await model.asked('by the server', ({ newest }) => newest.includes('from its server'))
  await server.run.hears('the end of the turn', ({ method }) => method === 'turn/completed')
})

test('a home that is given up leaves no process and no file', async () => {
  await using model = await MadeUpModel.start()
  const home = new CodexHome({ model: model.url })
  await home.sit()
  assert.ok(home.family().length > 0)
  const socket = join(home.folder, '.codex')
  assert.ok(existsSync(socket) && readFileSync(home.config, 'utf8').includes(model.url))
  await home[Symbol.asyncDispose]()
  assert.deepEqual([home.family(), existsSync(home.folder)], [[], false])
})

test('Claude Code asks again where an answer breaks off, and waits for one that does not come', async () => {
  await using model = await MadeUpModel.start(inOrder(drop, say('whole this time'), silence))
  await using home = new ClaudeHome({ model: model.url })
  const run = home.stream()
  run.tell(prompt('the first'))
  const result = await run.hears('the end of the turn', ({ type }) => type === 'result')
  assert.equal(result.result, 'whole this time')
  run.tell(prompt('the second'))
  await model.asked('the second', ({ newest }) => newest.includes('the second'))
  assert.equal(run.events.filter(({ type }) => type === 'result').length, 1)
})
