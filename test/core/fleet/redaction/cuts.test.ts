import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LineRedactor } from '#fleet/line-redactor.ts'
import { cleanDraft, TEXT_MAX } from '#fleet/message.ts'
import { redact, redactedHead, redactedTail } from '#fleet/redact.ts'
import { trueSamples } from './true-samples.ts'

const gitHub = `ghp_${'a1B2'.repeat(9)}`
const body = ['Qk1'.repeat(21), 'x9Z'.repeat(21), 'm0/+'.repeat(16)]
const [begin, end] = ['BEGIN', 'END'].map((word) => `-----${word} RSA PRIVATE KEY-----`)

test('a cut leaves nothing of a secret on either side, wherever it falls', () => {
  const text = `before ${gitHub} after`
  for (let max = 1; max <= text.length; max += 1) {
    for (const cut of [redactedHead(text, max), redactedTail(text, max)]) {
      assert.ok(cut.length <= max)
      assert.doesNotMatch(cut, /a1B2|ghp/, `${max} characters: ${cut}`)
    }
  }
})

test('a draft with short secrets is no longer than a message may be, and clean twice is clean once', () => {
  const draft = { text: `pwd=${'x1y2'} `.repeat(TEXT_MAX / 9), action: gitHub, files: [gitHub] }
  const clean = cleanDraft(draft)
  assert.ok(clean.text.length <= TEXT_MAX)
  assert.deepEqual(clean, { ...clean, action: '[redacted github-token]', files: ['[redacted github-token]'] })
  assert.deepEqual(cleanDraft({ ...clean, text: 'a' }), { ...clean, text: 'a' })
})

test('a key that comes line by line is taken out, and what follows is shown', () => {
  const lines = ['it is', begin, '', ...body, end, 'all done', `  ${begin}`, ...body, 'not a line of a key, said he']
  const redactor = new LineRedactor()
  const shown = lines.map((line) => redactor.next(line ?? ''))
  for (const line of body) assert.ok(!shown.join('\n').includes(line))
  assert.deepEqual([shown[0], shown[7], shown.at(-1)], ['it is', 'all done', 'not a line of a key, said he'])
})

test('all kinds that stand on one line are taken out line by line', () => {
  const redactor = new LineRedactor()
  for (const { text, secret } of trueSamples()) {
    if (!text.includes('\n')) assert.ok(!redactor.next(text).includes(secret), text)
  }
})

test('the eight kinds of the Python bridge are known', () => {
  const texts = [
    `AKIA${'Q7'.repeat(8)}`,
    [begin, ...body, end].join('\n'),
    `Bearer ${'a1-b2'.repeat(5)}`,
    'password=hunter2',
    `api_key = ${'k3y9'.repeat(5)}`,
    `secret: ${'s3cr'.repeat(5)}`,
    gitHub,
    `sk-${'A1b2'.repeat(12)}`,
  ]
  for (const text of texts) assert.match(redact(text), /\[redacted [a-z-]+\]/, text)
})
