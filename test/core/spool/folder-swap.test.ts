/**
 * An agent that shares the spool swaps a folder of it for a link to the state folder while a service works there, before each
 * call into the file system in turn: nothing of the state folder is moved, removed or written.
 */
import assert from 'node:assert/strict'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { Inbox } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import { beforeEachCall } from './file-system-calls.ts'
import { letter, READER } from './sample.ts'

/** Some thousand rounds, each with its syncs: a disk of memory makes them quick. */
const MEMORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const ITEM = { kind: 'send', from: READER, key: 'k', draft: { text: 'hello', action: null, files: [] } } as const
const PROBLEM = { code: 'invalid', message: 'no', next: null, id: null } as const
const NAMES = ['0000000000000001', '0000000000000002', '0000000000000003'].map((each) => `${each}-0123456789abcdef`)
/** What the services keep beside the spool: by names that the agent gives its own files too. */
function layVictims(state: string): void {
  mkdirSync(join(state, 'git'))
  writeFileSync(join(state, 'git', 'config'), 'of the services')
  writeFileSync(join(state, 'identity.json'), 'the keys of this host')
  writeFileSync(join(state, '5.json'), JSON.stringify(letter(5, 'of the services')))
  writeFileSync(join(state, `${NAMES[0]}.json`), JSON.stringify({ item: ITEM, problem: PROBLEM }))
  for (const name of readdirSync(state)) utimesSync(join(state, name), 1, 1)
}

function layFolders(spool: string, folders: readonly string[]): void {
  for (const folder of folders) mkdirSync(join(spool, folder), { recursive: true })
}

function layInbox(state: string): void {
  const inbox = join(state, 'inbox')
  layFolders(inbox, ['new', 'cur', 'done', 'bad', 'tmp/git/deeper'])
  for (const place of ['new/git', 'done/identity.json', 'tmp/identity.json', 'tmp/git/config', 'tmp/git/deeper/config'])
    writeFileSync(join(inbox, place), '')
  writeFileSync(join(inbox, 'new/1.json'), JSON.stringify(letter(1)))
  writeFileSync(join(inbox, 'done/5.json'), JSON.stringify(letter(5)))
  writeFileSync(join(inbox, 'cur/6.json'), 'no message')
}

function layOutbox(state: string): void {
  const outbox = join(state, 'outbox')
  layFolders(outbox, ['new', 'bad', 'refused', 'carried', 'tmp'])
  for (const place of ['new/git', 'new/identity.json', 'tmp/git', 'tmp/identity.json'])
    writeFileSync(join(outbox, place), '')
  for (const name of NAMES) writeFileSync(join(outbox, 'new', `${name}.json`), JSON.stringify(ITEM))
  writeFileSync(join(outbox, 'new', `${NAMES[2]}.json`), 'no item')
  for (const name of ['git', 'identity.json']) utimesSync(join(outbox, 'tmp', name), 1, 1)
}

/** All that lies in the state folder beside the spool. */
function beside(state: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const top of readdirSync(state).filter((name) => !/^(in|out)box$/.test(name)))
    for (const name of top === 'git' ? [top, ...readdirSync(join(state, top)).map((each) => join(top, each))] : [top]) {
      const stat = lstatSync(join(state, name))
      found[name] = stat.isFile() ? `${stat.ino} ${readFileSync(join(state, name), 'utf8')}` : `${stat.ino}`
    }
  return found
}

/** What a service does with its spool in one round; whatever the disk says of what the agent did to it. */
async function useInbox(state: string): Promise<void> {
  const inbox = new Inbox(state)
  for (const act of [
    () => inbox.recover(),
    () => inbox.tidy(),
    () => inbox.putAll([letter(3)]),
    () => inbox.inspect(6),
    () => inbox.take(1),
    () => inbox.ack([1]),
    () => inbox.forget([1, 5]),
  ]) {
    await act().catch(onlyTold)
  }
}

async function useOutbox(state: string): Promise<void> {
  const outbox = new Outbox(state)
  for (const act of [
    () => outbox.tidy(1e12),
    () => outbox.list(),
    () => outbox.put(ITEM),
    () => outbox.refuse(NAMES[0] as string, PROBLEM),
    () => outbox.done(NAMES[1] as string),
    () => outbox.outcome(NAMES[0] as string),
    () => outbox.outcome(NAMES[1] as string),
  ]) {
    await act().catch(onlyTold)
  }
}

function onlyTold(error: unknown): void {
  assert.ok(error instanceof S2Error, String(error))
}

/** Swaps the folder before the given call of the round; answers whether the round came so far. */
async function swapBefore(call: number, place: string, state: string, use: () => Promise<void>): Promise<boolean> {
  let calls = 0
  {
    using _ = beforeEachCall(() => {
      calls += 1
      if (calls !== call) return
      if (existsSync(join(state, place))) renameSync(join(state, place), join(state, `${place}-was`))
      symlinkSync(
        join(
          '..',
          ...place
            .split('/')
            .slice(2)
            .map(() => '..'),
        ),
        join(state, place),
      )
    })
    await use()
  }
  return calls >= call
}

/** Rounds until one ends before the call that the swap waits for: then it was swapped before each call that is made. */
async function swapBeforeEach(place: string, lay: typeof layInbox, use: typeof useInbox): Promise<void> {
  const base = mkdtempSync(join(MEMORY, 's2-swap-'))
  try {
    for (let call = 1; ; call += 1) {
      const state = join(base, String(call))
      mkdirSync(state)
      layVictims(state)
      lay(state)
      const before = beside(state)
      const isReached = await swapBefore(call, place, state, () => use(state))
      assert.deepEqual(beside(state), before, `swapped before call ${call}`)
      if (isReached) continue
      assert.ok(call > 40, `only ${call} calls were seen`)
      return
    }
  } finally {
    rmSync(base, { recursive: true, force: true })
  }
}

test('a folder that is swapped for a link before any call of ours into the file system leads none out of the spool', async (context) => {
  for (const folder of ['new', 'cur', 'done', 'tmp', 'tmp/git', 'bad'])
    await context.test(`inbox/${folder}`, () => swapBeforeEach(`inbox/${folder}`, layInbox, useInbox))
  for (const folder of ['new', 'tmp', 'refused', 'carried', 'bad'])
    await context.test(`outbox/${folder}`, () => swapBeforeEach(`outbox/${folder}`, layOutbox, useOutbox))
})
