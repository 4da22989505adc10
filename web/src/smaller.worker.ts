/** Scales an image to at most 2048 px on its longest side. It receives a file and posts a JPEG, or null. */
const MAX_SIDE = 2048;
const QUALITY = 0.85;

async function smaller(file: File): Promise<Blob> {
  const whole = await createImageBitmap(file, { imageOrientation: "from-image" });
  const scale = Math.min(1, MAX_SIDE / Math.max(whole.width, whole.height));
  const canvas = new OffscreenCanvas(Math.round(whole.width * scale), Math.round(whole.height * scale));
  const drawing = canvas.getContext("2d");
  if (drawing === null) throw new Error("no canvas");
  drawing.fillStyle = "white";
  drawing.fillRect(0, 0, canvas.width, canvas.height);
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(whole, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
}

addEventListener("message", (message: MessageEvent<File>) => {
  void smaller(message.data).then(
    (image) => postMessage(image),
    () => postMessage(null),
  );
});
