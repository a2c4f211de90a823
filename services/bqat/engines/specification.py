"""What every column of a profile means, in a sentence."""

from collections.abc import Mapping

from services.bqat.engines.face.ofiq import snake_case
from services.bqat.engines.face.scalars import CONVERSIONS
from services.bqat.engines.fingerprint.mapping import MAPPED
from services.bqat.engines.fingerprint.measures import HISTOGRAM_BOUNDS

_APPROX = {"approx": "Columns for which a stand-in of the reference's method was used."}

_BQAT = {
    "image_height": "Height of the picture in pixels.",
    "image_width": "Width of the picture in pixels.",
    "confidence": "How sure the detector is of the face, 0 to 1.",
    "bbox_left": "Left edge of the face's box in pixels.",
    "bbox_upper": "Upper edge of the face's box in pixels.",
    "bbox_right": "Right edge of the face's box in pixels.",
    "bbox_lower": "Lower edge of the face's box in pixels.",
    "smile": "Whether the mouth is wide with lifted corners.",
    "eye_closed_left": "Whether the subject's left eye is closed.",
    "eye_closed_right": "Whether the subject's right eye is closed.",
    "ipd": "Distance of the pupils in pixels.",
    "pupil_right_x": "The subject's right pupil, pixels from the box's left edge.",
    "pupil_right_y": "The subject's right pupil, pixels from the box's upper edge.",
    "pupil_left_x": "The subject's left pupil, pixels from the box's left edge.",
    "pupil_left_y": "The subject's left pupil, pixels from the box's upper edge.",
    "yaw_pose": "Left, Forward or Right, as the subject sees it.",
    "yaw_degree": "Degrees the head is turned, positive to the subject's left.",
    "pitch_pose": "Up, Level or Down.",
    "pitch_degree": "Degrees the head is tilted, positive upwards.",
    "roll_pose": "Anti-clockwise, Level or Clockwise, as the picture is seen.",
    "roll_degree": "Degrees the head leans, positive anti-clockwise.",
    "glasses": "Whether glasses are worn.",
    "face_detection": "The same as confidence, under its later name.",
    "brightness": "Mean gray of the picture, 0 to 255.",
    "dynamic_range": "Mean of the brightest hundredth less that of the darkest, 0 to 255.",
    "sharpness": "Variance of the Laplacian.",
    "contrast": "Standard deviation of all values of the picture.",
    "brightness_variance": "Standard deviation of the means of 50 x 50 blocks.",
    "blockiness": "Steps at borders of 8 x 8 blocks over steps elsewhere; 1 is none.",
    "face_ratio": "Area of the face's box over that of the picture.",
    "face_offset_x": "The nose's root from the picture's middle, in widths, right positive.",
    "face_offset_y": "The nose's root from the picture's middle, in heights, down positive.",
    "head_top": "Upper edge of the head in pixels; -1 where it is not known.",
    "head_bottom": "Chin in pixels.",
    "head_left": "Left edge of the head in pixels.",
    "head_right": "Right edge of the head in pixels.",
    **_APPROX,
}

_COMPONENTS = {
    "UnifiedQualityScore": "magnitude of an embedding",
    "BackgroundUniformity": "mean luminance gradient of the background",
    "IlluminationUniformity": "common share of the histograms of both cheeks",
    "LuminanceMean": "mean luminance of the face, 0 to 1",
    "LuminanceVariance": "variance of the luminance of the face",
    "UnderExposurePrevention": "share of the face that is nearly black",
    "OverExposurePrevention": "share of the face that is nearly white",
    "DynamicRange": "entropy of the luminance of the face in bits",
    "Sharpness": "votes of a forest for a sharp face",
    "CompressionArtifacts": "predicted similarity to the uncompressed picture",
    "NaturalColour": "distance of the cheeks' colour from those of skin",
    "SingleFacePresent": "area of the second largest face over that of the largest",
    "EyesOpen": "lid distance of the narrower eye over the face's length",
    "MouthClosed": "distance of the inner lips over the face's length",
    "EyesVisible": "covered share of the eyes' zone",
    "MouthOcclusionPrevention": "covered share of the mouth",
    "FaceOcclusionPrevention": "covered share of the face",
    "InterEyeDistance": "distance of the eyes in pixels, the yaw taken out",
    "HeadSize": "the face's length over the picture's height",
    "LeftwardCropOfTheFaceImage": "room at the left in distances of the eyes",
    "RightwardCropOfTheFaceImage": "room at the right in distances of the eyes",
    "MarginAboveOfTheFaceImage": "room above the eyes in lengths of the face",
    "MarginBelowOfTheFaceImage": "room below the eyes in lengths of the face",
    "HeadPoseYaw": "yaw in degrees",
    "HeadPosePitch": "pitch in degrees",
    "HeadPoseRoll": "roll in degrees",
    "ExpressionNeutrality": "votes for a neutral expression",
    "NoHeadCoverings": "share of the picture that is cloth or hat",
}

_FINGERPRINT = {
    "NFIQ2": "Score of NIST NFIQ 2, 0 (worst) to 100; empty where the program is not installed.",
    "uniform_image": "Standard deviation of the grays; below 1 the picture is uniform.",
    "empty_image_or_contrast_too_low": "Mean gray; above 250 the picture is empty.",
    "fingerprint_image_with_minutiae": "Number of minutiae; 5 or more are expected.",
    "sufficient_fingerprint_foreground": "Pixels of the fingerprint; 50000 or more are expected.",
    "quantized": "Set to 1 where a colour picture was turned gray.",
    "resampled": "Set to 1 where the resolution was changed; it never is here.",
    "edge_std": "Mean of the standard deviations of the first and the last column of pixels.",
    "image_width": "Width of the picture in pixels.",
    "image_height": "Height of the picture in pixels.",
    "FingerJetFX_MinutiaeCount": "Number of minutiae.",
    "FingerJetFX_MinCount_COMMinRect200x200": "Minutiae in 200 x 200 px around their middle.",
    "FJFXPos_Mu_MinutiaeQuality_2": "Share of minutiae in blocks a little darker than the mean.",
    "FJFXPos_OCL_MinutiaeQuality_80": "Share of minutiae in blocks of one orientation.",
    "ImgProcROIArea_Mean": "Mean gray of the fingerprint, 0 to 255.",
    "MMB": "Mean of the means of all blocks, 0 to 255.",
    "Mu": "Mean gray, 0 to 255.",
    "OrientationMap_ROIFilter_CoherenceRel": "Mean coherence of the ridges, 0 to 1.",
    "OrientationMap_ROIFilter_CoherenceSum": "Sum of the coherence of the ridges over all blocks.",
    **_APPROX,
}

_BLOCK_MEASURES = {
    "FDA": "frequency domain analysis (how regularly ridges alternate)",
    "LCS": "local clarity (how clearly ridges and valleys differ)",
    "OCL": "orientation certainty (how much gradients have one direction)",
    "OF": "orientation flow (how much neighbouring orientations differ)",
    "RVUP": "ridge valley uniformity (widths of ridges over those of valleys)",
}

_IRIS = {
    "quality": "Overall quality, 0 to 100.",
    "contrast": "Standard deviation of the grays.",
    "sharpness": "Mean response of the focus kernel.",
    "iris_diameter": "Diameter of the iris in pixels.",
    "percent_visible_iris": "Share of the iris that nothing covers, in percent.",
    "iris_pupil_gs": "Gray of the iris less that of the pupil.",
    "iris_sclera_gs": "Gray of the sclera less that of the iris.",
    "pupil_circularity_avg_deviation": "Mean deviation of the pupil's radius from its mean.",
    "iso_greyscale_utilization": "Entropy of the iris in bits; 6 or more are expected.",
    "iso_iris_pupil_concentricity": "How near both centres are, in percent; 90 are expected.",
    "iso_iris_pupil_contrast": "Contrast of iris and pupil; 30 or more are expected.",
    "iso_iris_pupil_ratio": "Radius of the pupil over that of the iris, in percent; 20 to 70.",
    "iso_iris_sclera_contrast": "Contrast of iris and sclera; more than 5 is expected.",
    "iso_margin_adequacy": "Room around the iris, in percent; more than 80 is expected.",
    "iso_pupil_boundary_circularity": "How circular the pupil is, 100 for a circle.",
    "iso_sharpness": "Power of the Laplacian, bent to 0 to 100.",
    "iso_usable_iris_area": "Visible share of the iris in percent; 70 or more are expected.",
    "iso_overall_quality": "Product of the normalised metrics, 0 to 100.",
    "iris_center_x": "Centre of the iris in pixels.",
    "iris_center_y": "Centre of the iris in pixels.",
    "pupil_center_x": "Centre of the pupil in pixels.",
    "pupil_center_y": "Centre of the pupil in pixels.",
    "pupil_diameter": "Diameter of the pupil in pixels.",
    "pupil_radius": "Radius of the pupil in pixels.",
    "image_width": "Width of the picture in pixels.",
    "image_height": "Height of the picture in pixels.",
    **_APPROX,
}
_NORMALISED_IRIS = (
    "contrast",
    "sharpness",
    "iris_diameter",
    "iris_pupil_gs",
    "iris_sclera_gs",
    "percent_visible_iris",
    "iso_sharpness",
    "iso_iris_pupil_ratio",
    "iso_iris_pupil_contrast",
    "iso_iris_sclera_contrast",
    "iso_margin_adequacy",
    "iso_greyscale_utilization",
    "iso_iris_pupil_concentricity",
    "iso_usable_iris_area",
    "iso_iris_diameter",
)

_SPEECH = {
    "duration": "Seconds.",
    "sample_rate": "Samples per second.",
    "channels": "Channels of the file; measures are of their mean.",
    "bits": "Bits per sample.",
    "bandwidth": "Frequency in Hz below which 99 % of the power lies.",
    "clipping_ratio": "Share of samples in runs at full scale.",
    "dc_offset": "Mean of the samples, full scale being 1.",
    "peak_level": "Level of the largest sample in dBFS.",
    "level": "Level of the whole recording in dBFS, its offset taken off.",
    "active_level": "Level of the parts with speech in dBFS.",
    "speech_ratio": "Share of the time in which there is speech.",
    "snr": "Speech over what is heard in pauses, in dB; empty without pauses.",
    "loudness_lufs": "Integrated loudness by ITU-R BS.1770; empty for silence.",
    "hum": "Power at 50 or 60 Hz and harmonics over all, in dB.",
    "dropouts": "How often the signal stands still for 3 ms between sounds.",
}


def _ofiq() -> dict[str, str]:
    native = {snake_case(name): f"Native value: {text}." for name, text in _COMPONENTS.items()}
    scalars = {
        f"{snake_case(name)}_scalar": f"Quality of {snake_case(name)}, 0 (worst) to 100."
        for name in CONVERSIONS
    }
    return {**native, **scalars, **_APPROX}


def _fingerprint() -> dict[str, str]:
    found = dict(_FINGERPRINT)
    for name, text in _BLOCK_MEASURES.items():
        bounds = HISTOGRAM_BOUNDS[name]
        found[f"{name}_Bin10_Mean"] = f"Mean of the {text}."
        found[f"{name}_Bin10_StdDev"] = f"Standard deviation of the {text}."
        for place in range(10):
            low = f"from {bounds[place - 1]:g} " if place else ""
            high = f"below {bounds[place]:g} " if place < len(bounds) else ""
            found[f"{name}_Bin10_{place}"] = f"Blocks {low}{high}in the {text}."
    found |= {f"QB_{name}": f"{name} as 0 to 100 by ISO/IEC 39794-4." for name in MAPPED}
    return found


def _iris() -> dict[str, str]:
    normalised = {
        f"normalized_{name}": f"How much of what is expected of {name} is there, 0 to 1."
        for name in _NORMALISED_IRIS
    }
    return {**_IRIS, **normalised}


#: By `modality`, and by `modality/engine` where a modality has several.
SPECIFICATION: Mapping[str, Mapping[str, str]] = {
    "face": _BQAT,
    "face/bqat": _BQAT,
    "face/ofiq": _ofiq(),
    "face/fusion": {**_BQAT, **_ofiq()},
    "fingerprint": _fingerprint(),
    "iris": _iris(),
    "speech": _SPEECH,
}
