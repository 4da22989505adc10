// Upload a file with tus-js-client: node upload.mjs ENDPOINT FILE USER [KEY] [default]
import fs from 'node:fs'
import { Upload } from 'tus-js-client'

const [endpoint, path, user, key, delays] = process.argv.slice(2)
const upload = new Upload(fs.createReadStream(path), {
  endpoint,
  chunkSize: 512 * 1024,
  uploadSize: fs.statSync(path).size,
  ...(delays !== 'default' && { retryDelays: Array(500).fill(100) }),
  headers: { 'user-id': user, ...(key && { 'Idempotency-Key': key }) },
  metadata: { filename: 'photo.jpg', caption: 'by tus-js-client' },
  ...(delays !== 'default' && { onShouldRetry: () => true }),
  onError: (error) => {
    console.error(String(error))
    process.exit(1)
  },
  onSuccess: () => {
    console.log(upload.url)
    process.exit(0)
  },
})
upload.start()
